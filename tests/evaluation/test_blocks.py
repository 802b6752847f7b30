"""A big table read piece by piece: whole rows, each once, with the line that it stands in."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.evaluation.blocks import blocks_of

ROWS = [f'"a ""{i}"", {"x" * (i % 7)}\n",{i}\nb{i},{i}\n' for i in range(40)]
TEXT = '"na\nme",n\n' + "".join(ROWS) + "é,1\n"


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10**6])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("before", ["", "\n\n", "\ufeff"])
def test_every_row_comes_once_with_the_header(tmp_path: Path, size: int, packed: bool, before: str) -> None:
    file = tmp_path / ("t.csv.gz" if packed else "t.csv")
    data = (before + TEXT).encode()
    file.write_bytes(gzip.compress(data) if packed else data)
    wanted = [row for row in csv.reader(io.StringIO(TEXT, newline="")) if row]
    lines = TEXT.split("\n")
    found = []
    for text, skipped in blocks_of(file, size):
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        assert header == wanted[0]
        if rows and not before.strip("\ufeff"):
            # the header takes two lines; the third of this text is the line of the file so many further down
            assert lines[2 + skipped] == text.split("\n")[2]
        found += rows
    assert found == wanted[1:]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a,b\n\xff\xfe,1\n", "is no text in UTF-8"),
        (gzip.compress(b"a,b\n" * 100, mtime=0)[:-9], "cannot be unpacked ("),
        (b"no gzip at all", "cannot be unpacked ("),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / ("t.csv" if said.startswith("is no text") else "t.csv.gz")
    file.write_bytes(data)
    with pytest.raises(UserError) as refused:
        list(blocks_of(file, 4, "do it again"))
    assert str(refused.value).startswith(f"{file}: {said}")
    assert str(refused.value).endswith("; do it again")


def test_a_row_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oodbench.evaluation.blocks.MOST_BYTES", 100)
    file = tmp_path / "t.csv"
    file.write_text('a,b\n1,2\n"never closed, ' + "x\n" * 200)
    with pytest.raises(UserError, match=r"is no table \(a row has no end\)"):
        list(blocks_of(file, 16))
