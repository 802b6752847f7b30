"""Which differences are real, and on what evidence. SciPy where it has the test; a few lines of our own for
what it lacks.

Scores are higher = more OOD. What is compared must not be mistaken for more evidence than it is: trials of
one split share classes and test samples, so `paired_trials` averages seeds within each split and takes the
splits as its sample. Nothing here pools ID sets. (scikit-posthocs has Nemenyi and Conover too, but brings
statsmodels and seaborn; it is what our tests compare with.)"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from oodbench.core.errors import BadValue, one_line
from oodbench.evaluation.metrics.arrays import Array
from oodbench.evaluation.statistics.given import numbers, share, vector, with_columns

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")


class Interval(NamedTuple):
    """An estimate with its confidence interval (NaN where there is too little to have one) and how many
    values it rests on."""

    value: float
    low: float
    high: float
    n: int


def t_interval(values: Sequence[float] | Array, confidence: float = 0.95) -> Interval:
    """Mean of independent values with Student's t interval.

    Args:
        values: of independent units; NaNs are left out.
        confidence: of the interval.

    Returns:
        The interval; NaN where there is one value or none.
    """
    from scipy.stats import sem, t

    x, confidence = vector(values, "values"), share(confidence, "confidence")
    x = x[~np.isnan(x)]
    if len(x) < 2:
        return Interval(float(x[0]) if len(x) else NAN, NAN, NAN, len(x))
    mean, error = float(x.mean()), float(sem(x))
    low, high = t.interval(confidence, len(x) - 1, mean, error) if error else (mean, mean)
    return Interval(mean, float(low), float(high), len(x))


class Paired(NamedTuple):
    """A paired comparison over trials: mean difference a - b with its t interval and p, Wilcoxon's p (NaN
    below six units), the sign test's p, units won, tied and lost by a, how many units there are and what they
    are (split or seed)."""

    difference: float
    low: float
    high: float
    p: float
    p_wilcoxon: float
    p_sign: float
    wins: int
    ties: int
    losses: int
    n: int
    unit: str


def paired_trials(a: pd.DataFrame, b: pd.DataFrame, value: str, *, lower_is_better: bool = False) -> Paired:
    """Compare a value on the trials that two rows share.

    Seeds are averaged within each split and the splits are the sample; with one split the seeds are, and the
    inference is for that split. Wilcoxon's signed-rank test is given from six units on: with fewer it cannot
    reach p < 0.05.

    Args:
        a: trials, with the columns split, seed and `value`.
        b: the others.
        value: the column to compare.
        lower_is_better: for which side a unit is won. The difference is a - b whatever is better.
    """
    read = ["split", "seed", value]
    one, other = with_columns(a, read, "a")[read], with_columns(b, read, "b")[read]
    both = one.merge(other, on=read[:2], suffixes=("_a", "_b")).dropna()
    both = both.assign(d=both[f"{value}_a"] - both[f"{value}_b"])
    unit = "split" if both["split"].nunique() > 1 else "seed"
    d = both.groupby(unit, sort=False)["d"].mean().to_numpy(dtype=float)
    return paired_differences(d, unit=unit, lower_is_better=lower_is_better)


def paired_differences(d: Array, *, unit: str = "", lower_is_better: bool = False) -> Paired:
    """The tests of `paired_trials` on the differences of independent units.

    Args:
        d: (n,), a - b of each unit.
        unit: what the units are, for the result.
        lower_is_better: for which side a unit is won.
    """
    from scipy.stats import ttest_1samp, wilcoxon

    d = vector(d, "differences")
    mean, low, high, n = t_interval(d)
    better = -d if lower_is_better else d
    wins, losses = int((better > 0).sum()), int((better < 0).sum())
    p = p_wilcoxon = NAN
    if n > 1:
        # differences that are all the same have no spread to test against: nothing to find if they are 0, no
        # doubt if not
        p = float(ttest_1samp(d, 0).pvalue) if spread_of(d) else float(mean == 0)
    if n >= 6:
        p_wilcoxon = float(wilcoxon(d).pvalue) if np.any(d != 0) else 1.0
    return Paired(
        mean, low, high, p, p_wilcoxon, sign_test(wins, losses), wins, n - wins - losses, losses, n, unit
    )


def spread_of(d: Array) -> float:
    """Standard deviation of the units; 0 where they differ by rounding alone."""
    found = float(d.std(ddof=1))
    return found if found > 1e-12 * abs(float(d.mean())) else 0.0


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact sign test; ties are left out.

    Args:
        wins: units won by one side.
        losses: units won by the other.

    Returns:
        The p of so uneven a count if either side were as likely to win.
    """
    from scipy.stats import binomtest

    if min(wins, losses) < 0:
        raise BadValue(f"wins and losses should be counts, got {wins} and {losses}")
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p_values: Sequence[float] | Array) -> Array:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics 1979).

    Args:
        p_values: (n,), of one family; NaNs are no member of it.

    Returns:
        Adjusted p values, (n,), NaN where they were NaN.
    """
    p = vector(p_values, "p values")
    if np.any((p < 0) | (p > 1)):
        raise BadValue("p values: should lie in [0, 1]")
    adjusted = np.full(p.shape, NAN)
    present = np.flatnonzero(~np.isnan(p))
    order = present[np.argsort(p[present], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else []
    return adjusted


def against(table: pd.DataFrame, reference: str, *, alpha: float = 0.05) -> pd.DataFrame:
    """Compare every row of a table with one of its rows, by the paired t interval and test of
    `paired_differences`, for all rows at once.

    Args:
        table: names down, independent units across; NaN where a unit is missing.
        reference: the name to compare with.
        alpha: 1 - confidence of the intervals.

    Returns:
        For each name: difference, low, high, p, p_holm, n. The family of Holm's adjustment is the other rows.
    """
    import pandas as pd
    from scipy.stats import t

    x, alpha = numbers(table, "table"), share(alpha, "alpha")
    at = np.flatnonzero(table.index == reference)
    if len(at) != 1:
        names = ", ".join(map(str, table.index)) or "nothing"
        raise BadValue(one_line(f"reference: {reference!r} should be one row of the table; there: {names}"))
    d = x - x[at[0]]
    n = (~np.isnan(d)).sum(axis=1)
    enough = np.where(n > 1, n, 2)
    mean = np.nansum(d, axis=1) / np.where(n > 0, n, 1)
    spread = np.sqrt(np.nansum((d - mean[:, None]) ** 2, axis=1) / (enough - 1))
    error = spread / np.sqrt(enough)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(error > 0, 2 * t.sf(np.abs(mean) / error, enough - 1), np.where(mean == 0, 1.0, 0.0))
    half = t.ppf(1 - alpha / 2, enough - 1) * error
    p = np.where((n > 1) & (table.index != reference), p, NAN)
    found = {
        "difference": np.where(n > 0, mean, NAN),
        "low": mean - half,
        "high": mean + half,
        "p": p,
        "p_holm": holm(p),
        "n": n,
    }
    result = pd.DataFrame(found, index=table.index)
    result.loc[n < 2, ["low", "high"]] = NAN
    return result


class Welch(NamedTuple):
    """Difference of two independent means, its interval, the smaller number of values, and the two-sided
    p."""

    value: float
    low: float
    high: float
    n: int
    p: float


def welch(a: tuple[float, float, int], b: tuple[float, float, int], confidence: float = 0.95) -> Welch:
    """Compare two independent means by Welch's test.

    Args:
        a: mean, sample standard deviation and number of values of one side.
        b: those of the other.
        confidence: of the interval.

    Returns:
        a - b; without interval and p where n is 1.
    """
    from scipy.stats import t, ttest_ind_from_stats

    difference, n = a[0] - b[0], min(a[2], b[2])
    if n < 2 or math.isnan(a[1]) or math.isnan(b[1]):
        return Welch(difference, NAN, NAN, n, NAN)
    va, vb = a[1] ** 2 / a[2], b[1] ** 2 / b[2]
    if va + vb == 0:
        return Welch(difference, difference, difference, n, float(difference == 0))
    # SciPy's test from means and deviations gives p, and neither an interval nor the degrees of freedom
    freedom = (va + vb) ** 2 / (va**2 / (a[2] - 1) + vb**2 / (b[2] - 1))
    low, high = t.interval(confidence, freedom, difference, math.sqrt(va + vb))
    p = ttest_ind_from_stats(*a, *b, equal_var=False).pvalue
    return Welch(difference, float(low), float(high), n, float(p))
