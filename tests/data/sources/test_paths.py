"""Names of any bytes, and what bears them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.data.sources.paths import Printable, coded, decoded, found_at, kind_of, only_files, printable


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"a b.png", "a b.png"),
        ("ä 猫.png".encode(), "ä 猫.png"),
        (b"caf\xe9.png", "caf\\xe9.png"),
        (b"a\n\x1b[31m.png", "a\\n\\x1b[31m.png"),
        ("a\u202eb".encode(), "a\\u202eb"),
        ("a\u00a0b".encode(), "a\u00a0b"),
    ],
)
def test_a_name_of_any_bytes_is_kept_and_shown(data: bytes, shown: str) -> None:
    name = os.fsdecode(data)
    assert coded(name) == data
    assert decoded(data) == name
    assert printable(name) == shown
    shown.encode()  # as files and terminals do
    names = Printable([name, "x"])
    assert (len(names), names[0], names[-1], names[:]) == (2, shown, "x", [shown, "x"])


def test_what_lies_at_a_path_is_said_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    found = {
        n: found_at(tmp_path / n) for n in ("pipe", "file", "link", "broken", "loop", "", "none", "file/x")
    }
    assert found.pop("loop").startswith("nothing that can be looked at (")
    assert found == {
        "pipe": "a named pipe", "file": "a file", "link": "a file", "broken": "a link to nothing",
        "": "a folder", "none": "nothing", "file/x": "nothing",
    }  # fmt: skip
    assert found_at(Path("/dev/null")) == "a device"
    assert found_at(Path("x" * 300)).startswith("nothing that can be looked at (File name too long")
    assert kind_of(0) == "no file"


def test_pipes_in_a_folder_are_named_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/x").touch()
    (tmp_path / "a/broken").symlink_to("nowhere")
    only_files(tmp_path)
    os.mkfifo(tmp_path / "a/b/p")
    with pytest.raises(UserError, match="a/b/p: is a named pipe, where a file belongs"):
        only_files(tmp_path)
