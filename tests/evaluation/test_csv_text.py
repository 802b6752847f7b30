"""Frames as text: the fast way writes what pandas writes."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oodbench.evaluation import csv_text
from oodbench.evaluation.csv_text import to_csv, write_csv

WORDS = [
    "", "plain", "a,b", 'say "no"', "two\nlines", "carriage\rreturn", "both\r\n", "é", "日本", "\U0001f600",
    " led", "=1+1", "+x", "-0.5", "@who", '{"k": [1, 2.5]}', "'quoted'", "nan", "NA", "None", "#", ";", "\t",
    "-", "a\tb",
]  # fmt: skip


@pytest.fixture(params=["pyarrow", "pandas"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The fast way, and the plain one of a machine without pyarrow, in pieces of seven rows."""
    if request.param == "pyarrow":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(csv_text, "HAS_PYARROW", request.param == "pyarrow")
    monkeypatch.setattr(csv_text, "FEW_CELLS", 0)
    monkeypatch.setattr(csv_text, "AT_ONCE", 7 if "committed" not in request.node.name else 500)
    return str(request.param)


def by_hand(frame: pd.DataFrame) -> str:
    """Each cell by Python's own formatting and the standard library's writer."""
    from oodbench.core.names import no_formula

    def cell(v: object) -> str:
        if v is None or v is pd.NA or v != v:
            return ""
        if isinstance(v, (float, np.floating)):
            return f"{v:.10g}"
        return no_formula(v) if isinstance(v, str) else str(v)

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows([[cell(v) for v in row] for row in frame.itertuples(index=False)])
    return text.getvalue()


def hostile(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    words = [WORDS[i % len(WORDS)] for i in range(n)]
    numbers = rng.random(n) * 10.0 ** rng.integers(-20, 20, n)
    numbers[::5], numbers[1::7], numbers[2::11], numbers[3::13] = np.nan, np.inf, -0.0, 1e-5
    return pd.DataFrame({
        "word": words, "kind": pd.Categorical([w or None for w in words]), "gap": [w or None for w in words],
        "number": numbers, "whole": np.arange(n), "none": np.full(n, np.nan),
        "rank": pd.array([None if i % 3 else i for i in range(n)], dtype="Int64"),
        "narrow": rng.random(n).astype("f4"), "a, \"name\"": numbers[::-1], "last": words[::-1],
    })  # fmt: skip


@pytest.mark.usefixtures("way")
def test_every_cell_is_what_python_writes() -> None:
    frame = hostile()
    assert to_csv(frame) == by_hand(frame)
    for last in frame:  # whatever stands at the end of a line
        moved = frame[[c for c in frame if c != last] + [last]]
        assert to_csv(moved) == by_hand(moved), last


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "column", [[1, "a", None], [True, False, True], ["a", 0.5, None], ["\udcff", "b", "c"]]
)
def test_what_is_no_text_and_no_number_is_left_to_pandas(column: list[object]) -> None:
    frame = pd.DataFrame({"odd": pd.Series(column, dtype=object), "n": [0.1 + 0.2, 1e-7, 5.0]})
    assert to_csv(frame) == frame.to_csv(index=False, lineterminator="\n", float_format="%.10g")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("n", [0, 1, 7, 8])
def test_a_frame_of_any_length_has_one_header(n: int) -> None:
    frame = hostile().iloc[:n]
    assert to_csv(frame) == by_hand(frame)
    assert to_csv(frame[["number"]]) == frame[["number"]].to_csv(index=False, float_format="%.10g")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("large", [False, True])
def test_a_file_holds_the_text_plain_or_packed(
    tmp_path: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_text, "LARGE", 1 if large else 10**6)
    frame = hostile()
    for name, read in (("t.csv", Path.read_bytes), ("t.csv.gz", lambda p: gzip.decompress(p.read_bytes()))):
        write_csv(frame, tmp_path / name)
        assert read(tmp_path / name) == by_hand(frame).encode()
        once = (tmp_path / name).read_bytes()
        write_csv(frame, tmp_path / name)
        assert (tmp_path / name).read_bytes() == once, "without a time stamp"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["t.csv", "t.csv.gz"]


def test_committed_results_are_written_byte_for_byte(way: str) -> None:
    from oodbench.evaluation.rows import read_rows
    from tests.conftest import ROOT

    files = sorted((ROOT / "results").rglob("results.csv.gz"))[: None if way == "pyarrow" else 3]
    assert files
    for file in files:
        assert to_csv(read_rows(file)).encode() == gzip.decompress(file.read_bytes()), file
