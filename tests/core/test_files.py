"""A file is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oodbench.core.files import readable, replace, replacing


def test_text_is_utf8_and_bytes_are_as_given(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    replace(file, "grün\n")
    assert file.read_bytes() == "grün\n".encode()
    replace(file, b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    assert [f.name for f in tmp_path.iterdir()] == ["a.csv"]


def test_a_reader_meets_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with replacing(file) as draft, open(draft, "w") as stream:
        stream.write("new, ")
        stream.flush()
        assert file.read_text() == "old"
        assert draft.parent == tmp_path
        stream.write("in two pieces")
    assert file.read_text() == "new, in two pieces"
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_what_fails_half_way_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def write() -> None:
        with replacing(file) as draft:
            draft.write_text("hal")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write()
    assert file.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_a_search_for_finished_files_meets_no_draft(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.csv") as draft:
        draft.write_text("1")
        assert not [*tmp_path.glob("*.csv")]


def test_without_a_folder_it_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "nowhere" / "a.txt", "")


def test_a_folder_where_a_file_belongs_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder, where a file belongs") as caught:
        replace(tmp_path / "results.csv", "x")
    assert caught.value.filename == str(tmp_path / "results.csv")


def test_a_file_name_that_is_no_text_can_be_written_into_one(tmp_path: Path) -> None:
    replace(tmp_path / "a.txt", os.fsdecode(b"caf\xe9.png"))
    assert (tmp_path / "a.txt").read_text() == "caf\\udce9.png"


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "device", "link to nowhere"])
def test_what_a_reader_might_wait_for_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "link to nowhere":
        path.symlink_to("nowhere")
    with pytest.raises(OSError):
        readable(path)


def test_a_file_and_a_link_to_one_are_readable(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert readable(tmp_path / "a").read_text() == readable(tmp_path / "b").read_text() == "x"
