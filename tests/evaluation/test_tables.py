"""Tables are read as they were written, or refused in one line that says where."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pandas as pd
import pytest

from oodbench.core.errors import UserError
from oodbench.evaluation.tables import (
    AMOUNT,
    ANY,
    FINITE,
    FRACTION,
    published_numbers,
    read_published,
    read_table,
    table,
)

TEXT = "name,note,share,n\na,fine,0.5,1\nb,,,2\n"


def read(file: Path, data: str | bytes = TEXT) -> pd.DataFrame:
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_table(file, ["name"], {"share": FRACTION, "n": AMOUNT}, sentences=["note"])


def refused(file: Path, data: str | bytes) -> str:
    with pytest.raises(UserError) as caught:
        read(file, data)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{file}: ")
    return line.removeprefix(f"{file}: ")


@pytest.fixture(autouse=True, params=[None, 3, 40], ids=["whole", "by three bytes", "by forty bytes"])
def _block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is the same, and refused in the same words, however it is read."""
    if request.param:
        monkeypatch.setattr("oodbench.evaluation.tables.BLOCK", request.param)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "t.csv"


def test_names_are_text_and_numbers_are_numbers(file: Path) -> None:
    found = read(file, "name,note,share,n,more\nNA,nan,0.5,1,7\n007,,,2,x\n")
    assert found["name"].tolist() == ["NA", "007"]
    assert found["note"].tolist() == ["nan", ""]
    assert found["share"].tolist()[0] == 0.5
    assert math.isnan(found["share"].tolist()[1])
    assert found["n"].tolist() == [1, 2]
    assert found["more"].tolist() == ["7", "x"], "what nobody knows is text"
    packed = file.with_name("t.csv.gz")
    pd.testing.assert_frame_equal(
        read(packed, gzip.compress(TEXT.encode())).astype(object),
        read(file).astype(object),
        check_dtype=False,
    )
    assert len(read(file, "name,note,share,n\n")) == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("abc", "share is 'abc', should be a number from 0 to 1 or empty"), ("nan", "share is 'nan'"),
        ("NaN", "share is 'NaN'"), ("inf", "share is inf"), ("-inf", "share is -inf"),
        ("1e999", "share is inf"),
        ('"0,5"', "share is '0,5'"), ("1.01", "share is 1.01"), ("-0.01", "share is -0.01"),
        ("True", "share is "),
        ("0x1", "share is '0x1'"), ("1_0", "share is '1_0'"), ("٣", "share is '٣'"),
        ("None", "share is 'None'"),
        ("9" * 400, "share is "), ("1j", "share is '1j'"), ("2024-01-01", "share is '2024-01-01'"),
    ],
)  # fmt: skip
def test_a_number_that_is_none_is_named_with_its_line(file: Path, value: str, said: str) -> None:
    line = refused(file, f"name,note,share,n\na,,0.5,1\n\nb,,{value},2\n")
    assert line.startswith(f"line 4: {said}"), line
    assert line.endswith("`oodbench run` writes it anew from what is stored")
    assert len(line) < 400


def test_numbers_that_others_write_are_read(file: Path) -> None:
    found = read(file, 'name,note,share,n\na,, 0.5 ,1e3\nb,,"0.25",+2\nc,,.5,99999999999999999999\n')
    assert found["share"].tolist() == [0.5, 0.25, 0.5]
    assert found["n"].tolist() == [1000, 2, 1e20]
    assert read_table(file, [], {"n": FINITE})["n"].dtype == float
    file.write_text("n\ninf\n-inf\n")
    assert read_table(file, [], {"n": ANY})["n"].tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "is empty"), ("\n\n", "is empty"), (TEXT[:-1], "is cut short: its last line has no end"),
        (TEXT + "c,x\n", "line 4 has 2 cells, the header has 4"),
        (TEXT + "c,x,1,1,1\n", "line 4 has 5 cells"),
        (TEXT.replace("note", "name"), "the column 'name' stands twice"),
        ("name,note,n\na,b,1\n", "lacks the column 'share'"), ("<html>\n", "lacks the column 'name'"),
        (TEXT + '"c,x,1,1\n', "is no table ("), (TEXT.encode("utf-16"), "is no text in UTF-8"),
        (TEXT.replace("a,", "a\0,"), "is no text: it holds a NUL byte"),
        (TEXT.replace("a,", "a\x1b,"), "line 2: name is 'a"),
        (TEXT.replace("b,", '"b\nc",'), "line 4: name is "),
        (TEXT + "c," + "x" * 200_000 + ",1,1\n", "is no table ("),
    ],
)  # fmt: skip
def test_a_table_of_another_shape_is_refused(file: Path, data: str | bytes, said: str) -> None:
    assert refused(file, data).startswith(said)


def test_what_is_packed_badly_is_refused(tmp_path: Path) -> None:
    file, packed = tmp_path / "t.csv.gz", gzip.compress(TEXT.encode())
    for data in (b"", packed[:-9], b"x" + packed, packed[:30] + b"\xff" + packed[31:], TEXT.encode()):
        why = refused(file, data)
        assert why.startswith(("cannot be unpacked (", "is empty"))


def test_a_sentence_is_shown_without_what_is_not_seen(file: Path) -> None:
    assert read(file, TEXT.replace("fine", "fi\x1b[31mne\u202e"))["note"][0] == "fine\ufffd"
    assert read(file, TEXT.replace("fine", '"one\ntwo"'))["note"][0] == "one two"


def test_what_earlier_versions_lack_is_missing(file: Path) -> None:
    file.write_text("name\na\n")
    found = read_table(file, ["name"], {"new": AMOUNT}, newer=["new"])
    assert math.isnan(found["new"][0])
    with pytest.raises(UserError, match="lacks the column 'new'"):
        read_table(file, ["name"], {"new": AMOUNT})


def test_one_table_has_one_file(tmp_path: Path) -> None:
    assert table(tmp_path, "t") is None
    (tmp_path / "t.csv").write_text(TEXT)
    assert table(tmp_path, "t") == tmp_path / "t.csv"
    (tmp_path / "t.csv.gz").symlink_to("nowhere")
    with pytest.raises(
        UserError, match=r"t\.csv: t\.csv\.gz is there too, and they may disagree; remove one"
    ):
        table(tmp_path, "t")
    (tmp_path / "t.csv").unlink()
    assert table(tmp_path, "t") == tmp_path / "t.csv.gz", "a link that leads nowhere is there, and is told"


def test_what_somebody_else_published_is_text_with_numbers_among_it(file: Path) -> None:
    file.write_bytes("\ufeffmethod,v\r\na\u202e,88.03\r\nb, n/a \r\nc,\r\nd,–".encode())
    found = read_published(file)
    assert found["method"].tolist() == ["a\ufffd", "b", "c", "d"]
    numbers = published_numbers(file, found["v"])
    assert numbers[0] == 88.03
    assert numbers[1:].isna().all()
    for bad in ("high", "88,03", "88.03%", "inf"):
        with pytest.raises(UserError, match=r"line 3: v is '.*', should be a number or empty"):
            published_numbers(file, pd.Series(["1", bad], name="v"))
