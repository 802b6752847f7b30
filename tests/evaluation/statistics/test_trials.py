"""Each statistic against a published worked example, another library, brute force or a simulation; and
degenerate input."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from oodbench.evaluation import statistics


def test_t_interval_equals_scipy() -> None:
    x = [0.91, 0.93, 0.90, 0.95]
    got = statistics.t_interval([*x, math.nan])
    assert (got.low, got.high) == pytest.approx(
        scipy_stats.t.interval(0.95, 3, np.mean(x), scipy_stats.sem(x))
    )
    assert got.n == 4
    one = statistics.t_interval([0.9])
    assert one.value == 0.9
    assert math.isnan(one.low)
    assert math.isnan(statistics.t_interval([]).value)
    assert statistics.t_interval([0.5, 0.5, 0.5])[:3] == (0.5, 0.5, 0.5)


def _trials(values: np.ndarray) -> pd.DataFrame:
    """(splits, seeds) values as trials."""
    at = [(str(i), str(j), v) for (i, j), v in np.ndenumerate(values)]
    return pd.DataFrame(at, columns=["split", "seed", "auroc"])


def test_paired_trials_equals_scipy_on_split_means() -> None:
    r = np.random.default_rng(0)
    a, b = r.random((7, 3)), r.random((7, 3))
    got = statistics.paired_trials(_trials(a), _trials(b).sample(frac=1, random_state=0), "auroc")
    means = a.mean(1), b.mean(1)
    assert got.difference == pytest.approx((means[0] - means[1]).mean())
    assert got.p == pytest.approx(scipy_stats.ttest_rel(*means).pvalue)
    assert got.p_wilcoxon == pytest.approx(scipy_stats.wilcoxon(*means).pvalue)
    assert (got.n, got.unit, got.wins + got.ties + got.losses) == (7, "split", 7)
    assert got.p_sign == pytest.approx(scipy_stats.binomtest(got.wins, 7).pvalue)


def test_one_split_takes_seeds_as_units_and_few_units_have_no_wilcoxon() -> None:
    r = np.random.default_rng(0)
    a, b = r.random((1, 4)), r.random((1, 4))
    got = statistics.paired_trials(_trials(a), _trials(b), "auroc")
    assert (got.unit, got.n) == ("seed", 4)
    assert got.p == pytest.approx(scipy_stats.ttest_rel(a[0], b[0]).pvalue)
    assert math.isnan(got.p_wilcoxon)


def test_paired_trials_on_degenerate_input() -> None:
    one = statistics.paired_trials(_trials(np.array([[0.9]])), _trials(np.array([[0.8]])), "auroc")
    assert one.difference == pytest.approx(0.1)
    assert math.isnan(one.low)
    assert math.isnan(one.p)
    equal = statistics.paired_trials(_trials(np.full((6, 2), 0.9)), _trials(np.full((6, 2), 0.9)), "auroc")
    assert (equal.difference, equal.p, equal.p_wilcoxon, equal.p_sign, equal.ties) == (0, 1, 1, 1, 6)
    none = statistics.paired_trials(_trials(np.array([[math.nan]])), _trials(np.array([[0.8]])), "auroc")
    assert none.n == 0
    assert math.isnan(none.difference)
    worse = statistics.paired_trials(
        _trials(np.array([[0.3], [0.2]])), _trials(np.array([[0.5], [0.6]])), "auroc", lower_is_better=True
    )
    assert (worse.wins, worse.losses) == (2, 0)


def test_the_split_as_unit_keeps_the_error_rate_that_counting_trials_breaks() -> None:
    # null: two methods of one quality; a split favours one of them by chance, and its three seeds share that
    r = np.random.default_rng(0)
    ours = naive = 0
    for _ in range(800):
        d = r.normal(0, 1, (5, 1)) + r.normal(0, 1, (5, 3))
        ours += statistics.paired_differences(d.mean(axis=1)).p < 0.05
        naive += statistics.paired_differences(d.ravel()).p < 0.05
    assert ours / 800 < 0.075
    assert naive / 800 > 0.12


def test_sign_test_and_holm() -> None:
    assert statistics.sign_test(8, 1) == pytest.approx(2 * (1 + 9) / 2**9)
    assert statistics.sign_test(0, 0) == 1
    # worked by hand: sorted .01 .02 .03 .04 -> 4*.01, 3*.02, 2*.03, and the last may not fall below
    assert statistics.holm([0.03, 0.01, math.nan, 0.04, 0.02]) == pytest.approx(
        [0.06, 0.04, math.nan, 0.06, 0.06], nan_ok=True
    )
    assert statistics.holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert len(statistics.holm([])) == 0


def test_holm_equals_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(200) ** 3
    assert statistics.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_wilcoxon_is_given_from_six_units_on() -> None:
    d = np.array([0.03, -0.01, 0.04, 0.02, 0.05, 0.06])
    assert math.isnan(statistics.paired_differences(d[:5]).p_wilcoxon)
    assert statistics.paired_differences(d).p_wilcoxon == pytest.approx(scipy_stats.wilcoxon(d).pvalue)
