"""The columns beside a large CSV file: read in its place only where they are its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oodbench.core.errors import UserError
from oodbench.evaluation import parquet
from oodbench.evaluation.csv_text import to_csv, write_csv
from oodbench.evaluation.large import compacted
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.rows import ROW_KEYS, as_written, read_rows
from tests.evaluation.frames import make_rows

pytest.importorskip("pyarrow")


@pytest.fixture
def rows() -> pd.DataFrame:
    found = make_rows()
    return as_written(found.assign(reason='é, "why"', chosen=np.where(found["ood"] == "", "{}", "")))


@pytest.fixture(params=["results.csv", "results.csv.gz"])
def file(request: pytest.FixtureRequest, tmp_path: Path, rows: pd.DataFrame) -> Path:
    written = tmp_path / str(request.param)
    write_csv(rows, written)
    parquet.write(compacted(rows, METRICS), written)
    return written


def is_from_parquet(rows: pd.DataFrame) -> bool:
    return isinstance(rows["pair"].dtype, pd.CategoricalDtype)


def test_it_is_what_the_csv_says(file: Path) -> None:
    found = read_rows(file)
    assert is_from_parquet(found)
    parquet.remove(file)
    plain = read_rows(file)
    assert not is_from_parquet(plain)
    assert list(found) == list(plain)
    assert found[list(ROW_KEYS)].astype(str).equals(plain[list(ROW_KEYS)].astype(str))
    np.testing.assert_array_equal(found[list(METRICS)].to_numpy(float), plain[list(METRICS)].to_numpy(float))
    assert to_csv(found) == to_csv(plain)


def test_a_csv_that_was_edited_wins(file: Path, rows: pd.DataFrame) -> None:
    changed = rows.copy()
    changed.loc[0, "auroc"] = 0.123456
    write_csv(changed, file)
    found = read_rows(file)
    assert not is_from_parquet(found)
    assert found["auroc"][0] == 0.123456


def test_one_digit_of_the_same_length_is_seen(tmp_path: Path, rows: pd.DataFrame) -> None:
    import os

    file = tmp_path / "results.csv"
    write_csv(rows, file)
    parquet.write(compacted(rows, METRICS), file)
    before = file.stat()
    text = file.read_text()
    at = text.rindex("0.") + 2
    file.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert not is_from_parquet(read_rows(file))


def test_an_edited_csv_is_refused_in_its_own_words(tmp_path: Path, rows: pd.DataFrame) -> None:
    file = tmp_path / "results.csv"
    write_csv(rows, file)
    parquet.write(compacted(rows, METRICS), file)
    file.write_text(to_csv(rows.assign(auroc=1.5)))
    with pytest.raises(
        UserError, match=r"results.csv: line \d+: auroc is 1.5, should be a number from 0 to 1"
    ):
        read_rows(file)


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "foreign", "folder", "another", "fewer"])
def test_what_is_not_its_own_is_as_if_it_were_not_there(file: Path, rows: pd.DataFrame, harm: str) -> None:
    beside = parquet.beside(file)
    data = beside.read_bytes()
    if harm == "cut":
        beside.write_bytes(data[: len(data) // 2])
    elif harm == "flip":
        at = len(data) // 3
        beside.write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
    elif harm == "empty":
        beside.write_bytes(b"")
    elif harm == "foreign":
        rows.assign(auroc=0.5).to_parquet(beside)
    elif harm == "folder":
        beside.unlink()
        beside.mkdir()
    elif harm == "another":
        other = file.with_name("other.csv")
        write_csv(rows.iloc[:-1], other)
        parquet.write(compacted(rows.iloc[:-1], METRICS), other)
        parquet.beside(other).replace(beside)
    else:
        parquet.write(compacted(rows, METRICS).drop(columns="auroc"), file)
    found = read_rows(file)
    assert not is_from_parquet(found)
    assert to_csv(found) == to_csv(rows)


def test_numbers_that_a_metric_cannot_have_are_told_of_the_csv(tmp_path: Path, rows: pd.DataFrame) -> None:
    file = tmp_path / "results.csv"
    wrong = rows.assign(fpr95_in=-0.5)
    write_csv(wrong, file)
    parquet.write(compacted(wrong, METRICS), file)
    with pytest.raises(UserError, match=r"fpr95_in is -0\.5"):
        read_rows(file)


def test_without_pyarrow_the_csv_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "HAS_PYARROW", False)
    assert not is_from_parquet(read_rows(file))
