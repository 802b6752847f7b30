"""The files of a results folder against one another: no store is needed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oodbench.evaluation import parquet
from oodbench.evaluation.csv_text import to_csv, write_csv
from oodbench.evaluation.large import compacted
from oodbench.evaluation.leaderboard import over_trials
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.rows import as_written, read_rows
from oodbench.runs import verify_files as files
from oodbench.runs.findings import CONTRADICTED, HOLDS, UNCHECKED
from oodbench.runs.folder import ResultsFolder
from oodbench.runs.reopen import suite_of
from tests.evaluation.frames import make_rows
from tests.runs.checked import rewrite


def test_files_of_a_run_agree(attacked_run: Path) -> None:
    rows = read_rows(attacked_run / "results.csv")
    board = over_trials(rows)
    found = [
        files.check_rows(rows),
        files.check_leaderboard(attacked_run, board),
        *files.check_claims(attacked_run, suite_of(attacked_run), rows),
    ]
    assert [(f.state, f.what) for f in found] == [
        (HOLDS, "results.csv"),
        (HOLDS, "leaderboard.csv"),
        (HOLDS, "claims.csv"),
    ]


def test_a_row_doubled_or_impossible(bare: Path) -> None:
    file = bare / "results.csv"
    rows = read_rows(file)
    twice = rows.loc[[*rows.index, rows.index[-1]]]
    assert files.check_rows(twice).why.endswith("stands twice")
    unknown = rows.assign(status=["fine", *rows["status"][1:]])
    assert "status 'fine'" in files.check_rows(unknown).why
    ood = rows.index[rows["ood"] != ""][0]
    for column, value, said in (
        ("auroc", float("nan"), "is ok and has no auroc"),
        ("auroc", 1.5, "auroc is 1.5, which it cannot be"),
        ("n_id", -1.0, "n_id is -1, which it cannot be"),
        ("ks", float("inf"), "ks is inf, which it cannot be"),
    ):
        bad = rows.astype({column: float})
        bad.loc[ood, column] = value
        found = files.check_rows(bad)
        assert found.state == CONTRADICTED
        assert said in found.why
    other = rows.copy()
    other.loc[ood, "id_accuracy"] -= 0.01
    assert "rows of one run give different ID accuracies" in files.check_rows(other).why


def test_a_leaderboard_that_does_not_follow_from_the_rows(bare: Path) -> None:
    rewrite(bare, "msp", "auroc", -0.01)
    board = over_trials(read_rows(bare / "results.csv"))
    found = files.check_leaderboard(bare, board)
    assert found.state == CONTRADICTED
    assert re.match(r"(near|far)_auroc of digits / .* is 0\.\d+, the rows give", found.why)
    file = bare / "leaderboard.csv"
    text = file.read_text()
    file.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    assert "its 1 cells are not the 2 that results.csv gives" in files.check_leaderboard(bare, board).why
    file.write_text(text.replace("n_trials", "trials", 1))
    assert files.check_leaderboard(bare, board).why.startswith("lacks the column 'n_trials'")
    file.write_text("\n".join(f"{line},{i}" for i, line in enumerate(text.splitlines())) + "\n")
    assert "its columns are not those of this version: 0" in files.check_leaderboard(bare, board).why
    file.unlink()
    assert files.check_leaderboard(bare, board).state == UNCHECKED


def test_a_verdict_changed(attacked: Path) -> None:
    rows, suite, file = read_rows(attacked / "results.csv"), suite_of(attacked), attacked / "claims.csv"
    text = file.read_text()
    assert "undecided" in text
    file.write_text(text.replace("undecided", "supported", 1))
    (found,) = files.check_claims(attacked, suite, rows)
    assert found.state == CONTRADICTED
    assert found.why.startswith("verdict of smoothing (")
    file.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    (found,) = files.check_claims(attacked, suite, rows)
    assert "are not the" in found.why
    file.unlink()
    (found,) = files.check_claims(attacked, suite, rows)
    assert found.state == UNCHECKED
    assert "the suite states 1 claims" in found.why


@pytest.mark.parametrize("digits", [0, 1e-12, 1e-9])
def test_another_machines_last_digit_contradicts_nothing(bare: Path, digits: float) -> None:
    rows = read_rows(bare / "results.csv")
    rows["auroc"] += digits
    (bare / "results.csv").write_text(to_csv(rows))
    board = over_trials(read_rows(bare / "results.csv"))
    assert files.check_leaderboard(bare, board).state == HOLDS


def test_versions_contradict_nothing_and_are_told(bare: Path) -> None:
    folder, file = ResultsFolder(bare), bare / "environment.json"
    assert files.check_versions(folder).state in (HOLDS, UNCHECKED), "the commit may have moved on"
    file.write_text('{"torch": "0.1"}')
    found = files.check_versions(folder)
    assert found.state == UNCHECKED
    assert "torch 0.1 (here " in found.why
    file.write_text("{")
    assert files.check_versions(folder).state == CONTRADICTED
    file.unlink()
    assert files.check_versions(folder).why == "there is no environment.json"


@pytest.mark.parametrize("name", ["results.csv", "results.csv.gz"])
def test_columns_that_say_otherwise_than_their_csv(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    file = tmp_path / name
    rows = as_written(make_rows())
    write_csv(rows, file)
    assert files.check_columns(file) == []
    parquet.write(compacted(rows, METRICS), file)
    (found,) = files.check_columns(file)
    assert (found.state, found.what) == (HOLDS, "results.parquet")
    for forged in (
        rows.assign(auroc=rows["auroc"] / 2),
        rows.assign(auroc=rows["auroc"] + 1e-13),  # beyond the digits of the text
        rows.assign(method="other"),
        rows.iloc[:-1],
    ):
        parquet.write(compacted(forged, METRICS), file)
        (found,) = files.check_columns(file)
        assert (found.state, found.why) == (CONTRADICTED, f"does not hold the rows of {name}")
    write_csv(rows.iloc[1:], file)
    (found,) = files.check_columns(file)
    assert found.state == UNCHECKED
    assert "does not belong to this" in found.why
