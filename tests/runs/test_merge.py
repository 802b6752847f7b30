"""Folders put together, and rows selected."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from oodbench.core.errors import UserError
from oodbench.evaluation.rows import combine, results_file, where, write_csv
from oodbench.runs import merge
from tests.evaluation.frames import make_rows


def folder(path: Path, rows: pd.DataFrame) -> Path:
    path.mkdir(parents=True)
    write_csv(rows, path / "results.csv")
    return path


def test_an_ok_row_takes_the_place_of_a_failed_or_skipped_one(tmp_path: Path) -> None:
    whole = make_rows()
    broken = whole.copy()
    at = (broken["scorer"] == "knn") & (broken["ood"] == "noise")
    broken.loc[at, ["status", "reason", "auroc"]] = ["failed", "out of memory", float("nan")]
    for order in (("a", "b"), ("b", "a")):
        parts = {"a": broken, "b": whole}
        found = combine([parts[o] for o in order], list(order))
        assert len(found) == len(whole)
        assert set(found["status"]) == {"ok"}
    assert (combine([broken, broken], ["a", "b"])["status"] == "failed").sum() == at.sum()
    folders = [folder(tmp_path / "a", broken), folder(tmp_path / "b", whole)]
    for f, epochs in zip(folders, ((0, 1), (1, 2)), strict=True):
        write_csv(pd.DataFrame({"run_key": "k", "epoch": epochs, "loss": 0.5}), f / "history.csv")
    written = merge.folders(folders, tmp_path / "both")
    assert len(written) == len(whole)
    assert pd.read_csv(tmp_path / "both" / "history.csv").epoch.tolist() == [0, 1, 2]
    assert {f.name for f in (tmp_path / "both").iterdir()} >= {
        "results.csv",
        "leaderboard.csv",
        "report.html",
        "plots",
    }


def test_results_that_disagree_are_refused_by_name(tmp_path: Path) -> None:
    a, b = make_rows(), make_rows()
    at = b.index[(b["scorer"] == "knn") & (b["ood"] == "noise")][0]
    b.loc[at, "auroc"] += 1e-3
    with pytest.raises(
        UserError, match=r"a and b disagree on auroc of p / 0 / mlp / ce / 0 / knn / noise: 0\.\d+ and 0\.\d+"
    ):
        combine([a, b], ["a", "b"])
    b.loc[at, "auroc"] = a.loc[at, "auroc"] + 1e-12  # another machine's last digit
    assert len(combine([a, b], ["a", "b"])) == len(a)
    with pytest.raises(UserError, match="different suites: s, other"):
        merge.folders(
            [folder(tmp_path / "a", a), folder(tmp_path / "o", a.assign(suite="other"))], tmp_path / "x"
        )
    with pytest.raises(UserError, match=r"holds a results\.csv already"):
        merge.folders([tmp_path / "a"], tmp_path / "a")


def test_other_suites_files_are_refused_and_the_same_ones_kept(tmp_path: Path) -> None:
    rows = make_rows(splits=2)
    parts = [folder(tmp_path / str(i), rows[rows["split"] == str(i)]) for i in range(2)]
    for i, at in enumerate(parts):
        (at / "suite.yaml").write_text(
            f"name: s\npairs: [{{digits: {{split: {i}}}}}]\nmethods: [ce]\nseeds: [{i}, 7]\n"
        )
    merge.folders(parts, tmp_path / "both")
    suite = yaml.safe_load((tmp_path / "both" / "suite.yaml").read_text())
    assert suite["pairs"] == [{"digits": {"split": 0}}, {"digits": {"split": 1}}]
    assert suite["seeds"] == [0, 1, 7]
    (parts[1] / "suite.yaml").write_text("name: s\nmethods: [als]\nseeds: [1]\npairs: [digits]\n")
    with pytest.raises(
        UserError,
        match=r"suite\.yaml: methods differs from the other folders' suites; only seeds and pairs may",
    ):
        merge.folders(parts, tmp_path / "again")


def test_a_folder_without_results_says_what_is_in_it(tmp_path: Path) -> None:
    folder(tmp_path / "r" / "digits", make_rows())
    with pytest.raises(UserError, match="holds the results of digits: name one of these folders"):
        results_file(tmp_path / "r")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="`oodbench run` writes it"):
        results_file(tmp_path / "empty")


def test_where_selects_with_wildcards_and_refuses_nonsense() -> None:
    rows = make_rows()
    assert set(where(rows, ["method=a*", "scorer!=knn"])["method"]) == {"als"}
    assert set(where(rows, ["scorer!=knn"])["scorer"]) == {"", "msp"}
    for wrong, why in (
        ("method", "should be KEY=VALUE"),
        ("aurc=1", "KEY one of suite, pair"),
        ("method=cee", "nothing has that method"),
    ):
        with pytest.raises(UserError, match=why):
            where(rows, [wrong])
