"""Which differences are real, and on what evidence. SciPy where it has the test; a few lines of our own for what it lacks.

Scores are higher = more OOD. What is compared must not be mistaken for more evidence than it is: trials of one split share classes and
test samples, so `paired_trials` averages seeds within each split and takes the splits as its sample. Nothing here pools ID sets.
(scikit-posthocs has Nemenyi and Conover too, but brings statsmodels and seaborn; it is what our tests compare with.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.evaluation.metrics.detection import Array, ArrayLike, scores_array

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")


class Interval(NamedTuple):
    """An estimate with its confidence interval (NaN where there is too little to have one) and how many values it rests on."""

    value: float
    low: float
    high: float
    n: int


def t_interval(values: Sequence[float] | Array, confidence: float = 0.95) -> Interval:
    """Mean of independent values with Student's t interval; NaNs are left out, and one value has no interval."""
    from scipy.stats import t

    x = np.asarray(values, dtype=float)
    x = x[~np.isnan(x)]
    if len(x) < 2:
        return Interval(float(x[0]) if len(x) else NAN, NAN, NAN, len(x))
    half = float(t.ppf((1 + confidence) / 2, len(x) - 1)) * x.std(ddof=1) / math.sqrt(len(x))
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x))


# ---------------------------------------------------------------- samples: DeLong and the bootstrap


class DeLong(NamedTuple):
    """AUROC of two scores on the same samples: their difference a - b, its interval and standard error, z and the two-sided p."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    se: float
    z: float
    p: float


def _placements(inside: Array, outside: Array) -> tuple[Array, Array]:
    """For each OOD sample the share of ID samples below it, for each ID sample the share of OOD samples above it (ties one half)."""
    a, b = np.sort(inside), np.sort(outside)
    below = (np.searchsorted(a, outside, "left") + np.searchsorted(a, outside, "right")) / (2 * len(a))
    above = 1 - (np.searchsorted(b, inside, "left") + np.searchsorted(b, inside, "right")) / (2 * len(b))
    return below, above


def delong(id_a: ArrayLike, ood_a: ArrayLike, id_b: ArrayLike, ood_b: ArrayLike, confidence: float = 0.95) -> DeLong:
    """DeLong's test of two AUROCs on the same samples (DeLong et al., Biometrics 1988; placements by sorting as in Sun and Xu, 2014).

    `id_a` and `id_b` (N,) score the same ID samples in the same order, `ood_a` and `ood_b` (M,) the same OOD samples. Where both
    AUROCs have no variance (both perfect), se is 0 and p is 1 for equal and 0 for different AUROCs.
    """
    from scipy.stats import norm

    named = {"ID scores a": id_a, "OOD scores a": ood_a, "ID scores b": id_b, "OOD scores b": ood_b}
    sets = [scores_array(x, name) for name, x in named.items()]
    if len(sets[0]) != len(sets[2]) or len(sets[1]) != len(sets[3]):
        raise ValueError("DeLong compares two scores of the same samples; the numbers of samples differ")
    below_a, above_a = _placements(sets[0], sets[1])
    below_b, above_b = _placements(sets[2], sets[3])
    variance = sum(float(np.var(d, ddof=1)) / len(d) if len(d) > 1 else 0.0 for d in (below_a - below_b, above_a - above_b))
    a, b = float(below_a.mean()), float(below_b.mean())
    difference, se = a - b, math.sqrt(variance)
    if se == 0:
        return DeLong(a, b, difference, difference, difference, 0.0, NAN, 1.0 if difference == 0 else 0.0)
    half = float(norm.ppf((1 + confidence) / 2)) * se
    z = difference / se
    return DeLong(a, b, difference, difference - half, difference + half, se, z, float(2 * norm.sf(abs(z))))


def bootstrap(
    pairs: Sequence[tuple[ArrayLike, ArrayLike]], *, metrics: Sequence[str] = ("auroc", "fpr95_in"), n: int = 1000, seed: int = 0
) -> dict[str, Array]:
    """Stratified bootstrap over samples: {metric: (n, len(pairs))} replicates of auroc, fpr95_in and fpr95_out.

    Each of `pairs` is (ID scores, OOD scores) of one scorer; ID and OOD samples are drawn with replacement by themselves, and all pairs
    with as many samples share the draw, so that columns can be subtracted for a paired comparison. Scores are sorted once; a replicate
    only reweights them. Exact under ties.
    """
    unknown = set(metrics) - {"auroc", "fpr95_in", "fpr95_out"}
    if unknown:
        raise ValueError(f"cannot bootstrap {sorted(unknown)[0]!r}; allowed: auroc, fpr95_in, fpr95_out")
    sets = [(scores_array(i, "ID scores"), scores_array(o, "OOD scores")) for i, o in pairs]
    sizes = {(len(i), len(o)) for i, o in sets}
    if len(sizes) > 1:
        raise ValueError("a paired bootstrap needs the same samples for every scorer; the numbers of samples differ")
    (size_in, size_out), = sizes
    sorted_sets = [_Sorted(i, o) for i, o in sets]
    out = {metric: np.empty((n, len(sets))) for metric in metrics}
    rng = np.random.default_rng(seed)
    block = max(1, 100_000 // (size_in + size_out))
    for start in range(0, n, block):
        count = min(block, n - start)
        drawn_in, drawn_out = _weights(rng, count, size_in), _weights(rng, count, size_out)
        for j, one in enumerate(sorted_sets):
            for metric, values in one.replicates(drawn_in, drawn_out, metrics).items():
                out[metric][start : start + count, j] = values
    return out


def _weights(rng: np.random.Generator, count: int, size: int) -> Array:
    """How often each of `size` samples is drawn, (count, size), for `count` draws of `size` with replacement."""
    drawn = rng.integers(0, size, (count, size), dtype=np.int32)
    drawn += (np.arange(count, dtype=np.int32) * size)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)


class _Sorted:
    """Scores sorted once, with the places where one set falls into the other."""

    def __init__(self, inside: Array, outside: Array) -> None:
        self.order_in, self.order_out = np.argsort(inside, kind="stable"), np.argsort(outside, kind="stable")
        a, b = inside[self.order_in], outside[self.order_out]
        self.low, self.high = np.searchsorted(a, b, "left"), np.searchsorted(a, b, "right")  # ID below, ID at most each OOD score
        self.accepted = np.searchsorted(b, a, "right")  # OOD at most each ID score
        self.tied = not np.array_equal(self.low, self.high)

    def replicates(self, weight_in: Array, weight_out: Array, metrics: Sequence[str]) -> dict[str, Array]:
        n, m = weight_in.shape[1], weight_out.shape[1]
        w_in, w_out = weight_in[:, self.order_in], weight_out[:, self.order_out]
        below_in = np.zeros((len(w_in), n + 1), dtype=np.int64)
        np.cumsum(w_in, axis=1, out=below_in[:, 1:])
        found: dict[str, Array] = {}
        if "auroc" in metrics:
            wins = np.einsum("ij,ij->i", below_in[:, self.low], w_out)
            if self.tied:
                wins = (wins + np.einsum("ij,ij->i", below_in[:, self.high], w_out)) / 2
            found["auroc"] = wins / (n * m)
        if "fpr95_in" in metrics:
            below_out = np.zeros((len(w_out), m + 1), dtype=np.int64)
            np.cumsum(w_out, axis=1, out=below_out[:, 1:])
            at = (below_in[:, 1:] * 20 >= 19 * n).argmax(axis=1)  # the ID sample whose score keeps 95 % of ID
            found["fpr95_in"] = np.take_along_axis(below_out, self.accepted[at][:, None], axis=1)[:, 0] / m
        if "fpr95_out" in metrics:
            caught = np.cumsum(w_out[:, ::-1], axis=1)
            at = m - 1 - (caught * 20 >= 19 * m).argmax(axis=1)  # the OOD sample whose score catches 95 % of OOD
            found["fpr95_out"] = 1 - np.take_along_axis(below_in, self.low[at][:, None], axis=1)[:, 0] / n
        return found


def percentile_interval(value: float, replicates: Array, confidence: float = 0.95) -> Interval:
    """A bootstrap percentile interval around an estimate; n is the number of replicates."""
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high), len(replicates))


# ---------------------------------------------------------------- trials


class Paired(NamedTuple):
    """A paired comparison over trials: mean difference a - b with its t interval and p, Wilcoxon's p (NaN below six units), the sign
    test's p, units won, tied and lost by a, how many units there are and what they are (split or seed)."""

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
    """Compare a value on the trials that `a` and `b` share, frames with columns split, seed and `value`.

    Seeds are averaged within each split and the splits are the sample; with one split the seeds are, and the inference is for that
    split. Wilcoxon's signed-rank test is given from six units on: with fewer it cannot reach p < 0.05. The sign of the difference
    is a - b whatever is better; wins count for the better.
    """
    both = a[["split", "seed", value]].merge(b[["split", "seed", value]], on=["split", "seed"], suffixes=("_a", "_b")).dropna()
    both = both.assign(d=both[f"{value}_a"] - both[f"{value}_b"])
    unit = "split" if both["split"].nunique() > 1 else "seed"
    d = both.groupby(unit, sort=False)["d"].mean().to_numpy(dtype=float)
    return paired_differences(d, unit=unit, lower_is_better=lower_is_better)


def paired_differences(d: Array, *, unit: str = "", lower_is_better: bool = False) -> Paired:
    """The tests of `paired_trials` on the differences of independent units."""
    from scipy.stats import t, wilcoxon

    d = np.asarray(d, dtype=float)
    mean, low, high, n = t_interval(d)
    better = -d if lower_is_better else d
    wins, losses = int((better > 0).sum()), int((better < 0).sum())
    p = p_wilcoxon = NAN
    if n > 1:
        spread = float(d.std(ddof=1))
        # differences that are all the same have no spread to test against: nothing to find if they are 0, no doubt if not
        p = (1.0 if mean == 0 else 0.0) if spread == 0 else float(2 * t.sf(abs(mean) / (spread / math.sqrt(n)), n - 1))
    if n >= 6:
        p_wilcoxon = float(wilcoxon(d).pvalue) if np.any(d != 0) else 1.0
    return Paired(mean, low, high, p, p_wilcoxon, sign_test(wins, losses), wins, n - wins - losses, losses, n, unit)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact sign test: the p of so uneven a count if either side were as likely to win. Ties are left out."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p_values: Sequence[float] | Array) -> Array:
    """Holm's step-down adjusted p values of one family (Scand. J. Statistics 1979); NaNs are no member of it and stay NaN."""
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(p.shape, NAN)
    present = np.flatnonzero(~np.isnan(p))
    order = present[np.argsort(p[present], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else []
    return adjusted


# ---------------------------------------------------------------- many data sets


class Ranking(NamedTuple):
    """Friedman's test over blocks (data sets, pairs or splits) and what follows it; `order` lists the names from best to worst."""

    names: tuple[str, ...]
    ranks: Array
    """Average rank of each name, 1 is best."""
    n: int
    """Complete blocks used; a block that lacks a value of any name is left out."""
    chi2: float
    p: float
    f: float
    p_f: float
    """Iman and Davenport's F, less conservative than chi2."""
    cd: float
    """Nemenyi's critical difference of average ranks."""
    p_nemenyi: Array
    p_conover: Array
    """Pairwise p values, (k, k), Conover's Holm-adjusted within all pairs."""
    alpha: float

    @property
    def order(self) -> list[str]:
        return [self.names[i] for i in np.argsort(self.ranks, kind="stable")]

    def cliques(self, p_values: Array | None = None) -> list[list[str]]:
        """Maximal runs of names, in order of rank, no two of which differ at `alpha` (by `p_values`, default Nemenyi's)."""
        p = self.p_nemenyi if p_values is None else p_values
        order = np.argsort(self.ranks, kind="stable")
        found: list[tuple[int, int]] = []
        for start in range(len(order)):
            end = start
            while end + 1 < len(order) and all(p[order[i], order[end + 1]] >= self.alpha for i in range(start, end + 1)):
                end += 1
            if end > start and not any(s <= start and end <= e for s, e in found):
                found.append((start, end))
        return [[self.names[i] for i in order[s : e + 1]] for s, e in found]


def rank_blocks(table: pd.DataFrame, *, lower_is_better: bool = False, alpha: float = 0.05) -> Ranking:
    """Friedman, Nemenyi and Conover-Holm over a table with one row per block and one column per name.

    Ranks within each block, ties averaged (Demsar, JMLR 2006). With fewer than two complete blocks or names everything but the ranks is
    NaN; where all names are always tied, p is 1.
    """
    from scipy.stats import chi2 as chi2_distribution
    from scipy.stats import f as f_distribution
    from scipy.stats import rankdata, studentized_range
    from scipy.stats import t as student

    names = tuple(map(str, table.columns))
    x = table.to_numpy(dtype=float)
    x = x[~np.isnan(x).any(axis=1)]
    n, k = len(x), len(names)
    ranks = rankdata(x if lower_is_better else -x, axis=1) if n and k else np.empty((0, k))
    mean = ranks.mean(axis=0) if n and k else np.full(k, NAN)
    nothing = np.full((k, k), NAN)
    if n < 2 or k < 2:
        return Ranking(names, mean, n, NAN, NAN, NAN, NAN, NAN, nothing, nothing, alpha)
    spread = float((ranks**2).sum()) - n * k * (k + 1) ** 2 / 4  # of the ranks about their mean, less than n k (k^2 - 1) / 12 under ties
    q = float(studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    scale = math.sqrt(k * (k + 1) / (6 * n))
    gap = np.abs(mean[:, None] - mean[None, :])
    upper = np.triu_indices(k, 1)
    p_nemenyi, p_conover = np.eye(k), np.eye(k)
    p_nemenyi[upper] = studentized_range.sf(gap[upper] / scale * math.sqrt(2), k, np.inf)
    if spread <= 1e-9 * n * k**3:
        chi2, p, f, p_f = 0.0, 1.0, 0.0, 1.0
        p_conover[upper] = 1.0
    else:
        chi2 = (k - 1) * float(((mean - (k + 1) / 2) ** 2).sum()) * n**2 / spread
        p = float(chi2_distribution.sf(chi2, k - 1))
        left = n * (k - 1) - chi2
        f = (n - 1) * chi2 / left if left > 1e-9 else math.inf
        p_f = float(f_distribution.sf(f, k - 1, (k - 1) * (n - 1))) if left > 1e-9 else 0.0
        # Conover 1999, section 5.8: t on differences of rank sums with the variance that the Friedman statistic leaves over
        error = math.sqrt(max(2 * n * spread / ((n - 1) * (k - 1)) * (1 - chi2 / (n * (k - 1))), 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.where(gap[upper] > 0, n * gap[upper] / error, 0.0)
        p_conover[upper] = holm(2 * student.sf(statistic, (n - 1) * (k - 1)))
    for matrix in (p_nemenyi, p_conover):
        matrix.T[upper] = matrix[upper]
    return Ranking(names, mean, n, chi2, p, f, p_f, q * scale, p_nemenyi, p_conover, alpha)


def win_tie_loss(table: pd.DataFrame, *, lower_is_better: bool = False, margin: float = 0.0) -> pd.DataFrame:
    """How often each column beats, ties with (within `margin`) and loses to each other, over the rows that have both: "w/t/l" texts."""
    import pandas as pd

    x = table.to_numpy(dtype=float) * (-1 if lower_is_better else 1)
    cells: Mapping[str, list[str]] = {str(name): [] for name in table.columns}
    for i in range(x.shape[1]):
        for j, name in enumerate(cells):
            d = x[:, i] - x[:, j]
            d = d[~np.isnan(d)]
            wins, losses = int((d > margin).sum()), int((d < -margin).sum())
            cells[name].append("" if i == j else f"{wins}/{len(d) - wins - losses}/{losses}")
    return pd.DataFrame(cells, index=[str(c) for c in table.columns])


def blocks(trials: pd.DataFrame, value: str, *, of: str, within: Sequence[str]) -> pd.DataFrame:
    """A table for `rank_blocks` from `leaderboard.trials`: one column per value of `of` (method, scorer), one row per block, which is a
    pair and split (seeds averaged) crossed with the columns `within`. Splits of one pair share images: read p values over them as
    descriptive unless the rows are pairs."""
    keys: list[Any] = ["pair", "pair_params", "split", *within]
    return trials.groupby([*keys, of], sort=False, dropna=False)[value].mean().unstack(of, sort=False)


def against(table: pd.DataFrame, reference: str, *, alpha: float = 0.05) -> pd.DataFrame:
    """Every row of a table (names down, independent units across) against one of its rows: columns difference, low, high, p, p_holm, n.

    The paired t interval and test of `paired_differences`, for all rows at once; the family of Holm's adjustment is the other rows.
    """
    import pandas as pd
    from scipy.stats import t

    d = table.to_numpy(dtype=float) - table.loc[reference].to_numpy(dtype=float)
    n = (~np.isnan(d)).sum(axis=1)
    enough = np.where(n > 1, n, 2)
    mean = np.nansum(d, axis=1) / np.where(n > 0, n, 1)
    spread = np.sqrt(np.nansum((d - mean[:, None]) ** 2, axis=1) / (enough - 1))
    error = spread / np.sqrt(enough)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(error > 0, 2 * t.sf(np.abs(mean) / error, enough - 1), np.where(mean == 0, 1.0, 0.0))
    half = t.ppf(1 - alpha / 2, enough - 1) * error
    p = np.where((n > 1) & (table.index != reference), p, NAN)
    found = {"difference": np.where(n > 0, mean, NAN), "low": mean - half, "high": mean + half, "p": p, "p_holm": holm(p), "n": n}
    result = pd.DataFrame(found, index=table.index)
    result.loc[n < 2, ["low", "high"]] = NAN
    return result


def bootstrap_mean(splits: Sequence[Sequence[Mapping[str, Array]]], *, n: int = 200, seed: int = 0) -> Array:
    """Replicates (n,) of a cell's AUROC over its samples: mean over splits of the mean over seeds and OOD sets.

    `splits` lists, per split, the trials of its seeds, each {set: scores} with the ID test set under "". Within a split all seeds
    share the draw of each set's samples, since they are the same images; splits are drawn by themselves. Trials are held fixed.
    """
    rng = np.random.default_rng(seed)
    total = np.zeros(n)
    for trials in splits:
        drawn = {name: _weights(rng, n, len(values)) for name, values in trials[0].items()}
        replicates = [
            _Sorted(trial[""], trial[name]).replicates(drawn[""], drawn[name], ("auroc",))["auroc"]
            for trial in trials
            for name in trial
            if name
        ]
        total += np.mean(replicates, axis=0)
    return total / len(splits)


class Welch(NamedTuple):
    """Difference of two independent means, its interval, the smaller number of values, and the two-sided p."""

    value: float
    low: float
    high: float
    n: int
    p: float


def welch(a: tuple[float, float, int], b: tuple[float, float, int], confidence: float = 0.95) -> Welch:
    """Difference a - b of two independent means by Welch's test, from (mean, sample std, n) of each; no interval and no p where n is 1."""
    from scipy.stats import t

    difference, n = a[0] - b[0], min(a[2], b[2])
    if n < 2 or math.isnan(a[1]) or math.isnan(b[1]):
        return Welch(difference, NAN, NAN, n, NAN)
    va, vb = a[1] ** 2 / a[2], b[1] ** 2 / b[2]
    if va + vb == 0:
        return Welch(difference, difference, difference, n, 1.0 if difference == 0 else 0.0)
    freedom, error = (va + vb) ** 2 / (va**2 / (a[2] - 1) + vb**2 / (b[2] - 1)), math.sqrt(va + vb)
    half = float(t.ppf((1 + confidence) / 2, freedom)) * error
    return Welch(difference, difference - half, difference + half, n, float(2 * t.sf(abs(difference) / error, freedom)))
