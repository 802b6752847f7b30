"""Uncertainty within one trial: DeLong's test of two AUROCs, the bootstrap over samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from oodbench.core.errors import BadValue
from oodbench.evaluation.metrics.arrays import Array, ArrayLike, scores_array, whole
from oodbench.evaluation.statistics.given import share
from oodbench.evaluation.statistics.trials import NAN, Interval


class DeLong(NamedTuple):
    """AUROC of two scores on the same samples: their difference a - b, its interval and standard error, z and
    the two-sided p."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    se: float
    z: float
    p: float


def _placements(inside: Array, outside: Array) -> tuple[Array, Array]:
    """For each OOD sample the share of ID samples below it, for each ID sample the share of OOD samples above
    it (ties one half)."""
    a, b = np.sort(inside), np.sort(outside)
    below = (np.searchsorted(a, outside, "left") + np.searchsorted(a, outside, "right")) / (2 * len(a))
    above = 1 - (np.searchsorted(b, inside, "left") + np.searchsorted(b, inside, "right")) / (2 * len(b))
    return below, above


def delong(
    id_a: ArrayLike, ood_a: ArrayLike, id_b: ArrayLike, ood_b: ArrayLike, confidence: float = 0.95
) -> DeLong:
    """DeLong's test of two AUROCs on the same samples (DeLong et al., Biometrics 1988; placements by sorting
    as in Sun and Xu, 2014).

    Args:
        id_a: (N,), one score of the ID samples.
        ood_a: (M,), of the OOD samples.
        id_b: (N,), the other score of the same ID samples, in the same order.
        ood_b: (M,), of the same OOD samples.
        confidence: of the interval.

    Returns:
        The test. Where both AUROCs have no variance (both perfect), se is 0 and p is 1 for equal and 0 for
        different AUROCs.
    """
    from scipy.stats import norm

    named = {"ID scores a": id_a, "OOD scores a": ood_a, "ID scores b": id_b, "OOD scores b": ood_b}
    confidence = share(confidence, "confidence")
    sets = [scores_array(x, name) for name, x in named.items()]
    if len(sets[0]) != len(sets[2]) or len(sets[1]) != len(sets[3]):
        raise BadValue("DeLong compares two scores of the same samples; the numbers of samples differ")
    below_a, above_a = _placements(sets[0], sets[1])
    below_b, above_b = _placements(sets[2], sets[3])
    variance = sum(
        float(np.var(d, ddof=1)) / len(d) if len(d) > 1 else 0.0
        for d in (below_a - below_b, above_a - above_b)
    )
    a, b = float(below_a.mean()), float(below_b.mean())
    difference, se = a - b, math.sqrt(variance)
    if se == 0:
        return DeLong(a, b, difference, difference, difference, 0.0, NAN, 1.0 if difference == 0 else 0.0)
    half = float(norm.ppf((1 + confidence) / 2)) * se
    z = difference / se
    return DeLong(a, b, difference, difference - half, difference + half, se, z, float(2 * norm.sf(abs(z))))


def bootstrap(
    pairs: Sequence[tuple[ArrayLike, ArrayLike]],
    *,
    metrics: Sequence[str] = ("auroc", "fpr95_in"),
    n: int = 1000,
    seed: int = 0,
) -> dict[str, Array]:
    """Stratified bootstrap over samples, exact under ties.

    ID and OOD samples are drawn with replacement by themselves, and all pairs share the draw, so that columns
    can be subtracted for a paired comparison. Scores are sorted once; a replicate only reweights them.

    Args:
        pairs: (ID scores, OOD scores) of each scorer, of the same numbers of samples.
        metrics: of auroc, fpr95_in and fpr95_out.
        n: replicates.
        seed: of the draws.

    Returns:
        {metric: (n, len(pairs))}.
    """
    n = whole(n, "n")
    if not isinstance(pairs, Sequence) or not all(
        isinstance(p, (tuple, list)) and len(p) == 2 for p in pairs
    ):
        raise BadValue("pairs: should be a list of (ID scores, OOD scores), one for each scorer")
    unknown = set(metrics) - {"auroc", "fpr95_in", "fpr95_out"}
    if unknown:
        raise BadValue(f"cannot bootstrap {sorted(unknown)[0]!r}; allowed: auroc, fpr95_in, fpr95_out")
    sets = [(scores_array(i, "ID scores"), scores_array(o, "OOD scores")) for i, o in pairs]
    sizes = {(len(i), len(o)) for i, o in sets}
    if not sets:
        raise BadValue("there are no scores to bootstrap")
    if len(sizes) > 1:
        raise BadValue(
            "a paired bootstrap needs the same samples for every scorer; the numbers of samples differ"
        )
    ((size_in, size_out),) = sizes
    sorted_sets = [_Sorted(i, o) for i, o in sets]
    out = {metric: np.empty((n, len(sets))) for metric in metrics}
    rng = np.random.default_rng(seed)
    block = max(1, 100_000 // (size_in + size_out))
    for start in range(0, n, block):
        count = min(block, n - start)
        drawn_in, drawn_out = (
            resampling_weights(rng, count, size_in),
            resampling_weights(rng, count, size_out),
        )
        for j, one in enumerate(sorted_sets):
            for metric, values in one.replicates(drawn_in, drawn_out, metrics).items():
                out[metric][start : start + count, j] = values
    return out


def resampling_weights(rng: np.random.Generator, count: int, size: int) -> Array:
    """Draws with replacement, as counts.

    Args:
        rng: where the draws come from.
        count: how many draws.
        size: of the sample, and of each draw.

    Returns:
        How often each sample is drawn, (count, size).
    """
    drawn = rng.integers(0, size, (count, size), dtype=np.int32)
    drawn += (np.arange(count, dtype=np.int32) * size)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)


class _Sorted:
    """Scores sorted once, with the places where one set falls into the other."""

    def __init__(self, inside: Array, outside: Array) -> None:
        self.order_in, self.order_out = np.argsort(inside, kind="stable"), np.argsort(outside, kind="stable")
        a, b = inside[self.order_in], outside[self.order_out]
        self.low, self.high = (
            np.searchsorted(a, b, "left"),
            np.searchsorted(a, b, "right"),
        )  # ID below, ID at most each OOD score
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
            at = (
                m - 1 - (caught * 20 >= 19 * m).argmax(axis=1)
            )  # the OOD sample whose score catches 95 % of OOD
            found["fpr95_out"] = 1 - np.take_along_axis(below_in, self.low[at][:, None], axis=1)[:, 0] / n
        return found


def percentile_interval(value: float, replicates: Array, confidence: float = 0.95) -> Interval:
    """A bootstrap percentile interval.

    Args:
        value: the estimate.
        replicates: (n,), of the bootstrap.
        confidence: of the interval.
    """
    replicates, confidence = scores_array(replicates, "replicates"), share(confidence, "confidence")
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high), len(replicates))


def bootstrap_mean(splits: Sequence[Sequence[Mapping[str, Array]]], *, n: int = 200, seed: int = 0) -> Array:
    """Bootstrap of a cell's AUROC over its samples: mean over splits of the mean over seeds and OOD sets.

    Within a split all seeds share the draw of each set's samples, since they are the same images; splits are
    drawn by themselves. Trials are held fixed.

    Args:
        splits: for each split the trials of its seeds, each {set: scores} with the ID test set under "".
        n: replicates.
        seed: of the draws.

    Returns:
        Replicates, (n,).
    """
    rng = np.random.default_rng(seed)
    total = np.zeros(n)
    for trials in splits:
        drawn = {name: resampling_weights(rng, n, len(values)) for name, values in trials[0].items()}
        replicates = [
            _Sorted(trial[""], trial[name]).replicates(drawn[""], drawn[name], ("auroc",))["auroc"]
            for trial in trials
            for name in trial
            if name
        ]
        total += np.mean(replicates, axis=0)
    return total / len(splits)
