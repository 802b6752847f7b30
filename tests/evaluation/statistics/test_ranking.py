"""Ranks over many data sets against Demsar's example, SciPy and scikit-posthocs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from oodbench.evaluation import statistics
from tests.evaluation.statistics.published import DEMSAR


def test_ranking_gives_demsars_worked_example() -> None:
    got = statistics.rank_blocks(DEMSAR)
    assert got.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert got.cd == pytest.approx(1.25, abs=5e-3)
    untied = 12 * 14 / (4 * 5) * ((got.ranks**2).sum() - 25)  # the paper's statistic leaves ties uncorrected
    assert untied == pytest.approx(9.28, abs=5e-3)
    assert 13 * untied / (14 * 3 - untied) == pytest.approx(3.69, abs=5e-3)
    assert got.order == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]
    assert got.cliques() == [got.order]
    ten = statistics.rank_blocks(DEMSAR, alpha=0.1)
    assert ten.cd == pytest.approx(1.12, abs=5e-3)
    assert ten.cliques() == [["C4.5+m+cf", "C4.5+m", "C4.5+cf"], ["C4.5+cf", "C4.5"]]  # figure 1(a)


def test_ranking_equals_scipy_and_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    tied = pd.DataFrame(np.random.default_rng(0).integers(0, 4, (12, 5)).astype(float))
    for table in (DEMSAR, tied):
        got = statistics.rank_blocks(table)
        expected = scipy_stats.friedmanchisquare(*table.to_numpy().T)
        assert (got.chi2, got.p) == pytest.approx((expected.statistic, expected.pvalue))
        assert got.p_nemenyi == pytest.approx(
            posthocs.posthoc_nemenyi_friedman(table.to_numpy()).to_numpy(), abs=1e-9
        )
        assert got.p_conover == pytest.approx(
            posthocs.posthoc_conover_friedman(table.to_numpy(), p_adjust="holm").to_numpy(), abs=1e-9
        )


def test_ranking_directions_missing_cells_and_degenerate_tables() -> None:
    up, down = statistics.rank_blocks(DEMSAR), statistics.rank_blocks(-DEMSAR, lower_is_better=True)
    assert up.ranks == pytest.approx(down.ranks)
    with_hole = pd.concat([DEMSAR, pd.DataFrame([[0.5, math.nan, 0.5, 0.5]], columns=DEMSAR.columns)])
    assert statistics.rank_blocks(with_hole).n == 14
    assert statistics.rank_blocks(with_hole).p == up.p
    equal = statistics.rank_blocks(pd.DataFrame(np.ones((5, 3)), columns=list("abc")))
    assert (equal.p, equal.chi2) == (1, 0)
    assert equal.cliques() == [["a", "b", "c"]]
    assert equal.cliques(equal.p_conover) == [["a", "b", "c"]]
    agreed = statistics.rank_blocks(pd.DataFrame(np.tile([3.0, 2, 1], (40, 1)), columns=list("abc")))
    assert agreed.order == ["a", "b", "c"]
    assert agreed.cliques() == []
    assert agreed.cliques(agreed.p_conover) == []
    assert agreed.p_f == 0
    one = statistics.rank_blocks(DEMSAR.head(1))
    assert math.isnan(one.p)
    assert one.ranks == pytest.approx([4, 3, 2, 1])
    empty = statistics.rank_blocks(DEMSAR.head(0))
    assert empty.n == 0
    assert np.isnan(empty.ranks).all()


def test_win_tie_loss() -> None:
    table = pd.DataFrame({"a": [3.0, 2, 1, math.nan], "b": [1.0, 2, 2, 1]})
    got = statistics.win_tie_loss(table)
    assert got.loc["a", "b"] == "1/1/1"
    assert got.loc["a", "a"] == ""
    assert statistics.win_tie_loss(table, margin=1.0).loc["a", "b"] == "1/2/0"
    assert (
        statistics.win_tie_loss(pd.DataFrame({"a": [1.0], "b": [2.0]}), lower_is_better=True).loc["b", "a"]
        == "0/0/1"
    )


def test_ten_thousand_blocks() -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(10_000, 6)) + np.arange(6) * 0.05)
    got = statistics.rank_blocks(table)
    assert got.n == 10_000
    assert got.p < 1e-6
    assert got.order == ["5", "4", "3", "2", "1", "0"]
