"""A file of text is read whole and as what it should be, or refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from oodbench.core import text_files
from oodbench.core.errors import UserError
from oodbench.core.text_files import read_bytes, read_mapping, read_text, there


def refused(path: Path, read: Callable[[Path, str], object] = read_bytes) -> str:
    with pytest.raises(UserError) as caught:
        read(path, "do this")
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.endswith("; do this")
    assert len(line.splitlines()) == 1
    return line.removeprefix(f"{path}: ").removesuffix("; do this")


def test_only_a_file_is_read_and_nothing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x"
    assert refused(file) == "no such file"
    assert not there(file)
    file.mkdir()
    assert refused(file) == "is a folder, where a file belongs"
    file.rmdir()
    os.mkfifo(file)
    assert refused(file) == "cannot be read (not a regular file)"
    assert there(file)
    file.unlink()
    file.symlink_to("nowhere")
    assert refused(file) == "is a link to a file that is not there"
    assert there(file)
    file.unlink()
    file.symlink_to("x")
    assert "cannot be read (" in refused(file)
    file.unlink()
    file.symlink_to("/dev/zero")
    assert "cannot be read" in refused(file)
    file.unlink()
    file.write_bytes(b"12345")
    assert read_bytes(file) == b"12345"
    (tmp_path / "link").symlink_to("x")
    assert read_bytes(tmp_path / "link") == b"12345"
    monkeypatch.setattr(text_files, "MOST_BYTES", 4)
    assert refused(file).startswith("has more than")
    with pytest.raises(UserError, match="cannot be read"):
        read_bytes(tmp_path / "a\0b")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"ab\xff", "is no text in UTF-8 (byte 2)"),
        ("ä".encode("utf-16"), "is no text in UTF-8 (byte 0)"),
        (b"ab\0", "is no text: it holds a NUL byte at 2"),
    ],
)
def test_text_is_utf8(tmp_path: Path, data: bytes, why: str) -> None:
    file = tmp_path / "x"
    file.write_bytes(data)
    assert refused(file, read_text) == why


def test_marks_and_line_ends_of_other_systems_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes("\ufeffgrün\r\nb\n".encode())
    assert read_text(file) == "grün\nb\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not valid JSON"), ("{", "is not valid JSON"), ("{}x", "is not valid JSON"),
        ("[1]", "should hold a mapping, got [1]"), ("null", "should hold a mapping, got None"),
        ('{"a": 1, "a": 2}', "is not valid JSON (a key stands twice)"),
        ('{"a": NaN}', "is not valid JSON (NaN is no number)"),
        ('{"a": -Infinity}', "is not valid JSON (-Infinity is no number)"),
        ('{"a": ' + "9" * 5000 + "}", "is not valid JSON"), ("[" * 100_000, "is nested too deeply"),
    ],
)  # fmt: skip
def test_a_mapping_is_one(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    assert refused(file, read_mapping).startswith(why)
    file.write_text('{"a": {"b": 1}}')
    assert read_mapping(file) == {"a": {"b": 1}}
