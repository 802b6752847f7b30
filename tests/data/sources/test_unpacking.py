"""What an archive holds lands in the folder, whole; the bad ones are in tests/whole/test_bad_files.py."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.data.sources.unpacking import unpack


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


FILES = {"a/1.png": b"one" * 1000, "a/b/2.png": b"", "3.png": b"three"}


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_files_and_folders_of_every_kind_of_archive(tmp_path: Path, kind: str) -> None:
    for name, content in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in/empty").mkdir()
    archive = tmp_path / f"set.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
            for f in sorted((tmp_path / "in").rglob("*")):
                z.write(f, f.relative_to(tmp_path / "in"))
    else:
        with tarfile.open(archive, f"w:{kind.partition('.')[2]}") as t:
            t.add(tmp_path / "in", ".")
    unpack(archive, tmp_path / "out")
    assert _tree(tmp_path / "out") == FILES
    assert (tmp_path / "out/empty").is_dir()
    assert not list(tmp_path.rglob(".*"))


def _tar(file: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(file, "w") as t:
        for info, content in members:
            info.size = len(content)
            t.addfile(info, io.BytesIO(content))
    return file


def _member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def test_links_to_files_of_the_archive_become_copies(tmp_path: Path) -> None:
    archive = _tar(
        tmp_path / "set.tar",
        _member("a/early", type=tarfile.SYMTYPE, linkname="../b/x.png"),
        _member("b/x.png", b"image"),
        _member("b/y.png", type=tarfile.SYMTYPE, linkname="x.png"),
        _member("c", type=tarfile.LNKTYPE, linkname="b/y.png"),
    )
    unpack(archive, tmp_path / "out")
    assert _tree(tmp_path / "out") == dict.fromkeys(["a/early", "b/x.png", "b/y.png", "c"], b"image")
    assert not [f for f in (tmp_path / "out").rglob("*") if f.is_symlink()]


def test_a_link_in_a_zip_becomes_a_copy(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as z:
        z.writestr("a/x.png", b"image")
        link = zipfile.ZipInfo("l")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(link, "a/x.png")
    unpack(tmp_path / "set.zip", tmp_path / "out")
    assert _tree(tmp_path / "out") == {"a/x.png": b"image", "l": b"image"}


def test_rights_are_those_of_any_new_file(tmp_path: Path) -> None:
    unpack(_tar(tmp_path / "set.tar", _member("x", b"x", mode=0o6777, uid=12345)), tmp_path / "out")
    (tmp_path / "new").touch()
    assert (tmp_path / "out/x").stat().st_mode == (tmp_path / "new").stat().st_mode
    assert (tmp_path / "out/x").stat().st_uid == os.getuid()


def test_of_two_members_of_one_name_the_last_counts_and_what_was_there_is_replaced(tmp_path: Path) -> None:
    archive = _tar(
        tmp_path / "set.tar", _member("x", b"first"), _member("./x", b"last"), _member("d/y", b"y")
    )
    (tmp_path / "out/d").mkdir(parents=True)
    (tmp_path / "out/x").write_bytes(b"old")
    (tmp_path / "out/d/mine").write_bytes(b"mine")
    unpack(archive, tmp_path / "out")
    assert _tree(tmp_path / "out") == {"x": b"last", "d/y": b"y", "d/mine": b"mine"}


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ("a folder where a file belongs", "and a folder"),
        ("a file", "and no folder"),
        ("a link", "and no folder"),
    ],
)
def test_what_stands_in_the_way_is_named_before_anything_is_moved(
    tmp_path: Path, there: str, said: str
) -> None:
    archive = _tar(tmp_path / "set.tar", _member("0", b"0"), _member("a/x", b"x"))
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    if there == "a file":
        (out / "a").touch()
    elif there == "a link":
        (out / "a").symlink_to(elsewhere)
    else:
        (out / "0").mkdir()
    with pytest.raises(UserError, match=f"is there already, {said}; nothing was unpacked"):
        unpack(archive, out)
    assert not list(elsewhere.iterdir())
    assert len(list(out.iterdir())) == 1


def test_what_a_killed_process_left_is_no_part_of_the_next(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "set.tar", _member("x", b"x"))
    (tmp_path / "out/.unpacking").mkdir(parents=True)
    (tmp_path / "out/.unpacking/half").touch()
    unpack(archive, tmp_path / "out")
    assert _tree(tmp_path / "out") == {"x": b"x"}


def test_a_small_archive_may_hold_what_is_much_larger(tmp_path: Path) -> None:
    """Thirty million zeros in a few kilobytes: much, but no danger."""
    with tarfile.open(tmp_path / "set.tgz", "w:gz") as t:
        info = tarfile.TarInfo("zeros")
        info.size = 30_000_000
        t.addfile(info, io.BytesIO(bytes(info.size)))
    unpack(tmp_path / "set.tgz", tmp_path / "out")
    assert (tmp_path / "out/zeros").stat().st_size == 30_000_000


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe"])
def test_what_is_no_archive_file_is_refused(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "set.tar"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    with pytest.raises(UserError, match=r"set\.tar: cannot be unpacked"):
        unpack(place, tmp_path / "out")
