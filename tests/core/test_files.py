"""A file is there whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oodbench.core.files import draft_of, listed, readable, remove_left, replace, replacing


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


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="is no file that can be replaced") as caught:
        replace(pipe, "text")
    assert caught.value.filename == str(pipe)
    assert pipe.is_fifo()
    with pytest.raises(OSError, match="is no file that can be replaced"):
        replace(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_an_error_names_the_file_and_not_its_draft(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        replace(tmp_path / "nowhere" / "a.txt", "")
    assert caught.value.filename == str(tmp_path / "nowhere" / "a.txt")


def test_a_folder_that_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = draft_of(tmp_path / "both")
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    left = Path(str(left).replace(f"-{os.getpid()}-", f"-{int(ended.stdout)}-"))
    writing = draft_of(tmp_path / "both")
    for draft in (left, writing):
        (draft / "page").mkdir(parents=True, exist_ok=True)
    remove_left(tmp_path / "both")
    assert [*tmp_path.iterdir()] == [writing]


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from oodbench.core.files import replacing
with replacing(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    os.kill(os.getpid(), 9)
"""
    file = tmp_path / "a[16].csv"
    subprocess.run([sys.executable, "-c", code, str(file)], check=False)
    (left,) = tmp_path.iterdir()
    others = [tmp_path / name for name in (".mine.tmp", f".a[16].csv.00000000-{os.getpid()}-12345678.tmp")]
    for other in others:
        other.write_text("")
    with replacing(file) as first, replacing(file) as second:
        first.write_text("first")
        second.write_text("second")
        assert first.exists(), "of a process that runs"
    assert not left.exists()
    assert {*tmp_path.iterdir()} == {file, *others}
    assert file.read_text() == "first"


def test_names_are_listed_and_of_what_is_no_folder_there_are_none(tmp_path: Path) -> None:
    for name in ("b.zip", "a.zip", "c.txt", ".hidden"):
        (tmp_path / name).touch()
    assert listed(tmp_path, ".zip") == ["a.zip", "b.zip"]
    assert listed(tmp_path) == [".hidden", "a.zip", "b.zip", "c.txt"]
    assert listed(tmp_path / "gone") == listed(tmp_path / "a.zip") == []
