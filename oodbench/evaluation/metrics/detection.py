"""Numbers of one results row, from scores, logits and labels. Scores: higher = more OOD, float64 inside,
exact under ties.

Every curve comes from the counts at the distinct scores, so one sort serves all of them. The positive class
stands in a column's name: ``_in`` has ID samples as positives, ``_out`` OOD samples. Everything is a
fraction, never a percentage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from oodbench.evaluation.metrics.arrays import Array, ArrayLike, scores_array

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Counts(NamedTuple):
    """Cumulative counts at the distinct scores, ascending: how many ID and OOD samples score at most so
    much."""

    id: Array
    ood: Array


def counts(id_scores: ArrayLike, ood_scores: ArrayLike) -> Counts:
    """Cumulative counts of two sets of scores.

    Args:
        id_scores: (N,).
        ood_scores: (M,).

    Returns:
        Counts at each distinct score. Each set is sorted by itself, which is several times faster than an
        order of all of them.
    """
    inside, outside = (
        np.sort(scores_array(s, name)) for s, name in ((id_scores, "ID scores"), (ood_scores, "OOD scores"))
    )
    place = np.searchsorted(inside, outside, side="right") + np.arange(len(outside))
    is_ood = np.zeros(len(inside) + len(outside), dtype=bool)
    is_ood[place] = True
    merged = np.empty(len(is_ood))
    merged[is_ood], merged[~is_ood] = outside, inside
    last = np.append(
        np.flatnonzero(merged[1:] != merged[:-1]), len(merged) - 1
    )  # the last of each run of ties
    ood = np.cumsum(is_ood)[last]
    return Counts(last + 1 - ood, ood)


def detection_metrics(id_scores: ArrayLike, ood_scores: ArrayLike) -> dict[str, float]:
    """How well the scores part ID from OOD, exact under ties.

    Args:
        id_scores: (N,), higher = more OOD.
        ood_scores: (M,).

    Returns:
        ``auroc``: OOD against ID, the same for either positive class. ``aupr_in``, ``aupr_out``: average
        precision, step-wise as scikit-learn's. ``aupr_*_trapezoid``: area under the interpolated curve,
        OpenOOD's. ``fpr95_in``: share of OOD accepted at the strictest threshold that accepts at least 95 %
        of ID. ``fpr95_out``: share of ID rejected at the strictest threshold that rejects at least 95 % of
        OOD.
        ``autc``, left out where all scores are one. ``overlap``. ``ks``. ``n_id``, ``n_ood``, and ``n_tied``:
        samples whose score some other sample shares.
    """
    inside, outside = scores_array(id_scores, "ID scores"), scores_array(ood_scores, "OOD scores")
    return detection_of(inside, outside)


_PART = 1 << 15
"""Samples whose curves are computed at a time: few enough to stay in cache, where a million at once would go
to memory and back."""


class _Part(NamedTuple):
    """For each of some samples of one sorted set: how many of its own set and of the other one score below
    it, and how many at most as high."""

    own_below: Array
    own: Array
    other_below: Array
    other: Array


class _Ranks(NamedTuple):
    """What `_Part` says, for all samples of one sorted set. `own_below` None: no two are equal, so that the
    i-th has i below it."""

    values: Array
    own_below: Array | None
    own: Array | None
    other_below: Array
    other: Array

    def at(self, index: Array | slice) -> _Part:
        if self.own_below is not None and self.own is not None:
            below, upto = self.own_below[index], self.own[index]
        else:
            below = np.arange(index.start, index.stop) if isinstance(index, slice) else index
            upto = below + 1
        return _Part(below, upto, self.other_below[index], self.other[index])

    def parts(self) -> Iterator[_Part]:
        for start in range(0, len(self.values), _PART):
            yield self.at(slice(start, min(start + _PART, len(self.values))))


def _ranks(inside: Array, outside: Array) -> tuple[_Ranks, _Ranks]:
    """Of both sets, each sorted. One search serves both; ties are looked for first, since without them there
    is nothing to search."""

    def search(part: Array) -> tuple[Array, bool]:
        below = np.searchsorted(outside, part)
        return below, bool(np.any(outside[np.minimum(below, len(outside) - 1)] == part))

    half = len(inside) // 2
    (first, first_tied), (second, second_tied) = _both(
        search, inside[:half], inside[half:], len(inside) + len(outside)
    )
    below = upto = np.concatenate([first, second])
    # an ID sample is at most as high as an OOD one just where no more OOD samples lie below it than below
    # that one
    at_most = less = _cumulated(below, len(outside))
    if first_tied or second_tied:
        upto = np.searchsorted(outside, inside, side="right")
        less = _cumulated(upto, len(outside))
    (i_below, i_upto), (o_below, o_upto) = _own_ranks(inside), _own_ranks(outside)
    if o_below is not None:
        less, at_most = less[o_below], at_most[o_below]
    return _Ranks(inside, i_below, i_upto, below, upto), _Ranks(outside, o_below, o_upto, less, at_most)


def _own_ranks(values: Array) -> tuple[Array, Array] | tuple[None, None]:
    if np.any(values[1:] == values[:-1]):
        return np.searchsorted(values, values, side="left"), np.searchsorted(values, values, side="right")
    return None, None


def _cumulated(places: Array, n: int) -> Array:
    """How many `places`, each in 0..n, are at most 0, 1, ..., n - 1."""
    number = np.bincount(places, minlength=n + 1)[:n]
    return np.cumsum(number, out=number)


def _both(work: Callable[[_In], _Out], first: _In, second: _In, samples: int) -> tuple[_Out, _Out]:
    """The work on both; side by side where there are many samples, since NumPy lets go of the interpreter
    meanwhile."""
    if samples < 100_000:
        return work(first), work(second)
    with ThreadPoolExecutor(1) as other:
        later = other.submit(work, second)
        return work(first), later.result()


def detection_of(inside: Array, outside: Array) -> dict[str, float]:
    """`detection_metrics` of score arrays that are checked already."""
    n, m = len(inside), len(outside)
    inside, outside = _both(np.sort, inside, outside, n + m)
    i, o = _ranks(inside, outside)
    # every OOD sample beats the ID samples strictly below it, and half of those it is tied with
    wins = n * m - (int(i.other_below.sum()) + int(i.other.sum())) / 2
    of_id, of_ood = _curve(i, m, ood=False), _curve(o, n, ood=True)
    # the first ID score that accepts 95 % of ID, the last OOD score that rejects 95 % of OOD
    accepted = _first(lambda at: i.at(at).own, np.array([_share95(n)]), n)
    caught = _first(lambda at: o.at(at).own_below, np.array([m - _share95(m) + 1]), m) - 1
    metrics: dict[str, float] = {
        "auroc": wins / (n * m),
        "aupr_in": of_id.average_precision, "aupr_out": of_ood.average_precision,
        "aupr_in_trapezoid": of_id.trapezoid, "aupr_out_trapezoid": of_ood.trapezoid,
        "fpr95_in": float(i.other[accepted[0]] / m),
        "fpr95_out": float((n - o.other_below[caught[0]]) / n),
        "overlap": _overlap(i, o),
        "ks": max(of_id.ks, of_ood.ks),
        "n_id": n, "n_ood": m, "n_tied": of_id.tied + of_ood.tied,
    }  # fmt: skip
    low, high = min(inside[0], outside[0]), max(inside[-1], outside[-1])
    if high > low:
        # areas under the FPR and the FNR curve over thresholds on min-max normalised scores are plain means
        # of those scores (Humblot-Renaux et al., CVPR Workshops 2023; normalisation over both sets as in
        # pytorch-ood 0.4)
        scale = high - low
        error_in, error_out = (inside / scale).mean() - low / scale, high / scale - (outside / scale).mean()
        metrics["autc"] = float(error_in + error_out) / 2
    return metrics


def _share95(n: int) -> int:
    """The least k with k / n >= 0.95."""
    k = int(0.95 * n)
    return k if k / n >= 0.95 else k + 1


class _Curve(NamedTuple):
    """What is read off the scores of one set as positives."""

    average_precision: float
    trapezoid: float
    ks: float
    tied: int


def _curve(r: _Ranks, others: int, ood: bool) -> _Curve:
    """A curve moves only at its positives' scores: there the true and false positives are counted, and those
    at the last stricter threshold; ID samples are accepted from below, OOD samples (`ood`) rejected from
    above. It starts at recall 0, precision 1, as scikit-learn's."""
    positives = len(r.values)
    precision = stricter = ks = 0.0
    tied = 0
    for p in r.parts():
        hits, false, hits_before, false_before = p.own, p.other, p.own_below, p.other_below
        if ood:
            hits, false, hits_before, false_before = (
                positives - hits_before,
                others - false_before,
                positives - hits,
                others - false,
            )
        precision += float((hits / (hits + false)).sum())
        before = hits_before + false_before
        stricter += float((hits_before / np.maximum(before, 1)).sum()) + np.count_nonzero(before == 0)
        ks = max(ks, float(np.max(np.abs(p.own / positives - p.other / others))))
        tied += int(np.count_nonzero((p.own - p.own_below > 1) | (p.other > p.other_below)))
    return _Curve(precision / positives, (precision + stricter) / positives / 2, ks, tied)


def _first(of: Callable[[Array], Array], levels: Array, n: int) -> Array:
    """For each of some levels the first index in 0..n-1 at which the ascending `of(index)` reaches it, else
    n: by halving, so that no more than a few of the n values are computed."""
    low, high = np.zeros(len(levels), dtype=np.intp), np.full(len(levels), n)
    while np.any(open_ := low < high):
        middle = (low + high) // 2
        reached = of(np.minimum(middle, n - 1)) >= levels
        low, high = np.where(open_ & ~reached, middle + 1, low), np.where(open_ & reached, middle, high)
    return low


def _overlap(i: _Ranks, o: _Ranks) -> float:
    """Overlap coefficient, sum over bins of min(share of ID, share of OOD), in [0, 1]. The bins are quantiles
    of the pooled scores, so that it does not change under a monotone transform of the scores; their number is
    the root of the smaller set's size, made even (2 to 100), so that one edge is the pooled median and
    separated sets overlap by 0."""
    n, m = len(i.values), len(o.values)
    bins = 2 * int(np.clip(np.sqrt(min(n, m)) / 2, 1, 50))
    # each set weighs the same in the pooled quantiles, however large it is; a quantile is the lower of the
    # two sets' first scores there
    q = np.arange(1, bins) / bins - 1e-12

    def pooled(r: _Ranks, own: int, other: int) -> Array:
        def share(at: Array) -> Array:
            part = r.at(at)
            return 0.5 / own * part.own + 0.5 / other * part.other

        at = _first(share, q, own)
        return np.where(at < own, r.values[np.minimum(at, own - 1)], np.inf)

    edges = np.unique(np.minimum(pooled(i, n, m), pooled(o, m, n)))
    below = (
        np.concatenate([[0], np.searchsorted(r.values, edges, side="right"), [len(r.values)]]) for r in (i, o)
    )
    return float(np.minimum(*(np.diff(x) / x[-1] for x in below)).sum())
