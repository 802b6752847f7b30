"""Average ranks as text, against SciPy and counting by hand."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from scipy import stats as scipy_stats

from oodbench.core.errors import UserError
from oodbench.report import ranks
from tests.evaluation.frames import make_rows

SCORERS = ("msp", "knn", "vim", "mls")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.concat([make_rows(scorers=SCORERS, splits=1), make_rows(scorers=SCORERS, pair="q")])


def by_hand(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Blocks (a pair and split, methods and seeds averaged) by scorers."""
    near = rows[rows["shift"] == "near"]
    return near.groupby(["pair", "split", "scorer"], sort=False)[metric].mean().unstack()


@pytest.mark.parametrize(("value", "sign"), [("near_auroc", -1), ("near_fpr95_in", 1)])
def test_ranks_friedman_and_wins_are_those_of_the_blocks(rows: pd.DataFrame, value: str, sign: int) -> None:
    table = sign * by_hand(rows, value.removeprefix("near_"))
    text = ranks.to_text(rows, "scorer", value)
    mean = table.rank(axis=1).mean().sort_values()
    shown = [line.split() for line in text.splitlines()[2 : 2 + len(SCORERS)]]
    assert [(line[1], line[2]) for line in shown] == [(str(n), f"{r:.2f}") for n, r in mean.items()]
    expected = scipy_stats.friedmanchisquare(*table.to_numpy().T)
    assert f"Friedman chi2 = {expected.statistic:.3f}, p = {expected.pvalue:.3f}" in text
    assert "over 4 blocks (splits of 2 pairs)" in text
    first, second = mean.index[:2]
    wins = int((table[first] < table[second]).sum())
    assert shown[0][3] == f"{wins}/0/{4 - wins}"  # of the best against the second; against itself it is empty
    assert "Splits of one pair share images" in text
    assert "fewer than ten blocks" in text


def test_names_that_differ_are_listed() -> None:
    """Twelve blocks that agree on a, then b, then c: by Conover's test each differs from each."""
    rows = make_rows(scorers=("a", "b", "c", "d"), splits=12, seeds=1, methods=("ce",))
    noise = rows["auroc"] / 100
    rows["auroc"] = rows["scorer"].map({"a": 0.9, "b": 0.7, "c": 0.5, "d": 0.5}) + noise
    found = list(csv.DictReader(io.StringIO(ranks.to_text(rows, "scorer", "near_auroc", "csv"))))
    differs = {r["scorer"]: set(r["differs (Conover-Holm)"].split(", ")) for r in found}
    assert differs["a"] == {"b", "c", "d"}
    assert differs["b"] == {"a", "c", "d"}
    table = by_hand(rows, "auroc").rank(axis=1, ascending=False)
    posthocs = pytest.importorskip("scikit_posthocs")
    p = posthocs.posthoc_conover_friedman(table, p_adjust="holm")
    assert ("d" in differs["c"]) == (p.loc["c", "d"] < 0.05)


def test_csv_is_the_table_alone(rows: pd.DataFrame) -> None:
    found = list(csv.DictReader(io.StringIO(ranks.to_text(rows, "scorer", "near_auroc", "csv"))))
    assert {r["scorer"] for r in found} == set(SCORERS)


def test_one_block_has_ranks_and_no_test() -> None:
    text = ranks.to_text(make_rows(splits=1), "method", "near_auroc")
    assert "One block: ranks, and no test." in text
    assert "Friedman" not in text


def test_what_cannot_be_ranked_is_said() -> None:
    rows = make_rows()
    with pytest.raises(UserError, match="--value: 'auroc' is no value of a leaderboard; allowed: near_auroc"):
        ranks.to_text(rows, "scorer", "auroc")
    with pytest.raises(UserError, match="nothing to rank: 1 networks, 3 pairs and splits"):
        ranks.to_text(rows, "network", "near_auroc")
