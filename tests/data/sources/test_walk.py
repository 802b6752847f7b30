"""One walk says which images there are: each once, whatever links lead where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.data.sources.walk import Walk, class_folders, leads_back, loose_images, once


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def paths(walk: Walk, *tops: str) -> list[str]:
    return [path for top in tops or ("",) for path in walk.images(top)]


def test_the_order_is_that_of_os_walk_with_names_sorted(tmp_path: Path) -> None:
    root = touched(
        tmp_path / "set", "b/2.png", "b/10.png", "b/a/1.png", "a.png", "c/x.JPG", "b/y.txt", "z.jfif"
    )
    expected = []
    for place, folders, files in os.walk(root):
        folders.sort()
        expected += [os.path.relpath(f"{place}/{f}", root) for f in sorted(files) if not f.endswith(".txt")]
    assert paths(Walk(root, [""])) == expected
    assert paths(Walk(root, ["c", "b"]), "c", "b") == ["c/x.JPG", "b/10.png", "b/2.png", "b/a/1.png"]


def test_hidden_files_and_folders_do_not_count(tmp_path: Path) -> None:
    root = touched(tmp_path / "set", "1.png", "._1.png", ".thumbnails/2.png", "a/.ipynb_checkpoints/3.png")
    assert paths(Walk(root, [""])) == ["1.png"]
    assert class_folders(root) == ["a"]


@pytest.mark.parametrize("target", [".", "..", "../..", "../a", "../../set/a"])
def test_a_link_that_leads_back_is_not_followed(tmp_path: Path, target: str) -> None:
    root = touched(tmp_path / "set", "a/1.png", "a/2.png", "b/1.png")
    touched(tmp_path, "other/1.png")
    (root / "a/again").symlink_to(target)
    (root / "a/0").symlink_to(target)
    assert leads_back(str(root / "a/again"))
    assert paths(Walk(root, [""])) == ["a/1.png", "a/2.png", "b/1.png"]
    assert paths(Walk(root, ["a", "b"]), "a", "b") == ["a/1.png", "a/2.png", "b/1.png"]


def test_a_chain_of_links_ends_and_counts_each_folder_once(tmp_path: Path) -> None:
    """Twenty folders, each with two links to the next: a million ways."""
    for i in range(20):
        touched(tmp_path / "far", f"{i}/{i}.png")
        for link in "lm":
            (tmp_path / f"far/{i}/{link}").symlink_to(f"../{(i + 1) % 20}")
    root = touched(tmp_path / "set", "x.png")
    (root / "in").symlink_to("../far/0")
    assert len(paths(Walk(root, [""]))) == 21


def test_what_lies_in_the_set_keeps_its_true_name(tmp_path: Path) -> None:
    root = touched(tmp_path / "set", "a/1.png", "b/2.png")
    (root / "a/0-first").symlink_to("../b")
    assert paths(Walk(root, ["a", "b"]), "a", "b") == ["a/1.png", "b/2.png"]
    (root / "0").symlink_to("b")
    assert class_folders(root) == ["0", "a", "b"]
    assert once(root, ["0", "a", "b"]) == ["a", "b"]
    with pytest.raises(UserError, match="'0' is a link to a folder that is read already"):
        Walk(root, ["0", "a", "b"])


def test_class_folders_are_none_that_lead_back(tmp_path: Path) -> None:
    root = touched(tmp_path / "set", "a/1.png", "file")
    touched(tmp_path, "elsewhere/2.png")
    for name, target in (
        ("self", "."),
        ("up", ".."),
        ("round", "../set"),
        ("out", "../elsewhere"),
        ("none", "x"),
    ):
        (root / name).symlink_to(target)
    assert class_folders(root) == ["a", "out"]


def test_a_root_that_is_a_link_is_a_root(tmp_path: Path) -> None:
    touched(tmp_path / "true", "a/1.png", "b/2.png")
    (tmp_path / "set").symlink_to("true")
    (tmp_path / "true/a/up").symlink_to("..")
    assert paths(Walk(tmp_path / "set", ["a", "b"]), "a", "b") == ["a/1.png", "b/2.png"]


def test_the_stamp_is_of_what_is_listed_and_no_more(tmp_path: Path) -> None:
    root = touched(tmp_path / "set", "a/1.png")
    touched(tmp_path, "far/2.png")
    (root / "a/more").symlink_to("../../far")
    seen = {Walk(root, ["a"]).stamp(["a"])}
    touched(root, "a/notes.txt", "a/.hidden.png")
    seen.add(Walk(root, ["a"]).stamp(["a"]))
    assert len(seen) == 1
    for change in (
        lambda: touched(tmp_path, "far/3.png"), lambda: touched(tmp_path, "far/deep/4.png"),
        lambda: (root / "a/link").symlink_to("../../other"), lambda: touched(tmp_path, "other/5.png"),
        lambda: (tmp_path / "far/3.png").unlink(),
        lambda: (tmp_path / "other/5.png").rename(tmp_path / "other/6.png"),
    ):  # fmt: skip
        change()
        seen.add(Walk(root, ["a"]).stamp(["a"]))
    assert len(seen) == 6  # but for the link to nothing yet


def test_images_that_are_not_read_are_counted_by_suffix(tmp_path: Path) -> None:
    root = touched(tmp_path / "set", "1.png", "2.heic", "x/3.HEIC", "4.avif", "5.txt", "6.xml", ".7.heic")
    assert Walk(root, [""]).passed_over() == "1 .avif, 2 .heic"
    (root / "8").write_bytes(b"\xff\xd8\xff\xe0")
    (root / "9.png~").write_bytes(b"\x89PNG\r\n")
    (root / "10.dat").write_bytes(b"RIFF\0\0\0\0WEBPVP8 ")
    assert Walk(root, [""]).passed_over() == "1 without suffix, 1 .avif, 1 .dat, 2 .heic, 1 .png~"
    assert loose_images(root) == ["1.png", "2.heic", "4.avif"]


def test_what_is_no_file_is_told_as_a_problem(tmp_path: Path) -> None:
    root = touched(tmp_path / "set", "0.png")
    os.mkfifo(root / "a.png")
    os.mkfifo(root / "b")  # bears no image's name
    (root / "c.png").symlink_to("nowhere")
    (root / "d.png").mkdir()
    walk = Walk(root, [""])
    assert paths(walk) == ["0.png", "a.png", "c.png"]
    assert walk.problems == {
        "a.png": f"{root}/a.png: is a named pipe, no image file",
        "c.png": f"{root}/c.png: is a link to a file that is not there",
    }


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = touched(tmp_path / "set", "a/1.png")
    real = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(UserError, match=r"set/a: the folder cannot be read \(Permission denied\)"):
        Walk(root, [""])
