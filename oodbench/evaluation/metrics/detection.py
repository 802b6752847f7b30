"""Numbers of one results row, from scores, logits and labels. Scores: higher = more OOD, float64 inside, exact under ties.

Every curve comes from the counts at the distinct scores, so one sort serves all of them. The positive class stands in a
column's name: ``_in`` has ID samples as positives, ``_out`` OOD samples. Everything is a fraction, never a percentage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
ArrayLike = Tensor | Array | list[float]
_In = TypeVar("_In")
_Out = TypeVar("_Out")

METRICS: tuple[str, ...] = (
    "auroc", "aupr_in", "aupr_out", "fpr95_in", "fpr95_out", "oscr", "id_accuracy", "edited_accuracy", "n_id", "n_ood", "n_tied",
    "aupr_in_trapezoid", "aupr_out_trapezoid", "tpr95_in_val", "fpr95_in_val", "autc", "overlap", "ks", "scod_aurc", "scod_augrc",
    "auroc_misclassified", "aurc", "augrc", "ece", "nll", "brier",
    "max_prob_id", "max_prob_ood", "max_logit_id", "max_logit_ood", "logit_norm_id", "logit_norm_ood",
    "non_max_std_id", "non_max_std_ood", "non_max_ratio_id", "non_max_ratio_ood", "val_accuracy", "val_nll",
)  # fmt: skip
"""The metric columns of results.csv, after `base.ROW_KEYS`. A metric that is undefined for a row is left empty."""

COUNTS = frozenset({"n_id", "n_ood", "n_tied"})
"""Metrics that count samples: integers, never averaged."""

LOWER_IS_BETTER = frozenset({
    "fpr95_in", "fpr95_out", "fpr95_in_val", "autc", "overlap", "scod_aurc", "scod_augrc", "aurc", "augrc", "ece", "nll", "brier",
    "val_nll",
})  # fmt: skip

ANALYSIS = frozenset(name for name in METRICS if name.startswith(("max_prob", "max_logit", "logit_norm", "non_max")))
"""Metrics that describe the network and rank nothing: neither direction is better."""

ID_ONLY = frozenset({
    "id_accuracy", "edited_accuracy", "auroc_misclassified", "aurc", "augrc", "ece", "nll", "brier", "tpr95_in_val",
    "max_prob_id", "max_logit_id", "logit_norm_id", "non_max_std_id", "non_max_ratio_id", "val_accuracy", "val_nll",
})  # fmt: skip
"""Metrics that need no OOD set; they stand in the rows whose `ood` is empty (some are repeated beside each OOD set)."""


def scores_array(scores: ArrayLike, name: str = "scores") -> Array:
    """Scores as a float64 array (N,), N >= 1, every value finite; ValueError says what is wrong with which."""
    values = scores.detach().cpu().numpy() if isinstance(scores, Tensor) else np.asarray(scores)
    if values.ndim != 1:
        raise ValueError(f"{name}: should have the shape (N,), got {tuple(values.shape)}")
    if len(values) == 0:
        raise ValueError(f"{name}: there are no samples")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name}: should be numbers, got {values.dtype}")
    values = values.astype(np.float64, copy=False)
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise ValueError(f"{name}: {bad} of {len(values)} are not finite")
    return values


def _correct_array(correct: ArrayLike, n: int, name: str) -> Array:
    values = correct.detach().cpu().numpy() if isinstance(correct, Tensor) else np.asarray(correct)
    if values.shape != (n,):
        raise ValueError(f"{name}: should have the shape ({n},) of the ID scores, got {tuple(values.shape)}")
    return values.astype(bool)


# ---------------------------------------------------------------- ID against OOD


class Counts(NamedTuple):
    """Cumulative counts at the distinct scores, ascending: how many ID and OOD samples score at most `thresholds[i]`."""

    thresholds: Array
    id: Array
    ood: Array


def counts(id_scores: Array, ood_scores: Array) -> Counts:
    """Both sets merged; each is sorted by itself, which is several times faster than an order of all of them."""
    inside, outside = np.sort(id_scores), np.sort(ood_scores)
    place = np.searchsorted(inside, outside, side="right") + np.arange(len(outside))
    is_ood = np.zeros(len(inside) + len(outside), dtype=bool)
    is_ood[place] = True
    merged = np.empty(len(is_ood))
    merged[is_ood], merged[~is_ood] = outside, inside
    last = np.append(np.flatnonzero(merged[1:] != merged[:-1]), len(merged) - 1)  # the last of each run of ties
    ood = np.cumsum(is_ood)[last]
    return Counts(merged[last], last + 1 - ood, ood)


def detection_metrics(id_scores: ArrayLike, ood_scores: ArrayLike) -> dict[str, float]:
    """How well the scores part ID from OOD, exact under ties.

    `id_scores` (N,) and `ood_scores` (M,), higher = more OOD. Returns ``auroc`` (OOD against ID, the same for either positive class),
    ``aupr_in`` / ``aupr_out`` (average precision, step-wise as scikit-learn's) and ``aupr_*_trapezoid`` (area under the interpolated
    curve, OpenOOD's), ``fpr95_in`` (share of OOD accepted at the strictest threshold that accepts at least 95 % of ID),
    ``fpr95_out`` (share of ID rejected at the strictest threshold that rejects at least 95 % of OOD), ``autc``, ``overlap``, ``ks``,
    ``n_id``, ``n_ood`` and ``n_tied`` (samples whose score some other sample shares).
    """
    inside, outside = scores_array(id_scores, "ID scores"), scores_array(ood_scores, "OOD scores")
    return _detection(inside, outside)


_PART = 1 << 15
"""Samples whose curves are computed at a time: few enough to stay in cache, where a million at once would go to memory and back."""


class _Part(NamedTuple):
    """For each of some samples of one sorted set: how many of its own set and of the other one score below it, and how many at most as
    high."""

    own_below: Array
    own: Array
    other_below: Array
    other: Array


class _Ranks(NamedTuple):
    """What `_Part` says, for all samples of one sorted set. `own_below` None: no two are equal, so that the i-th has i below it."""

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
    """Of both sets, each sorted. One search serves both; ties are looked for first, since without them there is nothing to search."""

    def search(part: Array) -> tuple[Array, bool]:
        below = np.searchsorted(outside, part)
        return below, bool(np.any(outside[np.minimum(below, len(outside) - 1)] == part))

    half = len(inside) // 2
    (first, first_tied), (second, second_tied) = _both(search, inside[:half], inside[half:], len(inside) + len(outside))
    below = upto = np.concatenate([first, second])
    # an ID sample is at most as high as an OOD one just where no more OOD samples lie below it than below that one
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
    """The work on both; side by side where there are many samples, since NumPy lets go of the interpreter meanwhile."""
    if samples < 100_000:
        return work(first), work(second)
    with ThreadPoolExecutor(1) as other:
        later = other.submit(work, second)
        return work(first), later.result()


def _detection(inside: Array, outside: Array) -> dict[str, float]:
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
        # areas under the FPR and the FNR curve over thresholds on min-max normalised scores are plain means of those scores
        # (Humblot-Renaux et al., CVPR Workshops 2023; normalisation over both sets as in pytorch-ood 0.4)
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
    """A curve moves only at its positives' scores: there the true and false positives are counted, and those at the last stricter
    threshold; ID samples are accepted from below, OOD samples (`ood`) rejected from above. It starts at recall 0, precision 1, as
    scikit-learn's."""
    positives = len(r.values)
    precision = stricter = ks = 0.0
    tied = 0
    for p in r.parts():
        hits, false, hits_before, false_before = p.own, p.other, p.own_below, p.other_below
        if ood:
            hits, false, hits_before, false_before = positives - hits_before, others - false_before, positives - hits, others - false
        precision += float((hits / (hits + false)).sum())
        before = hits_before + false_before
        stricter += float((hits_before / np.maximum(before, 1)).sum()) + np.count_nonzero(before == 0)
        ks = max(ks, float(np.max(np.abs(p.own / positives - p.other / others))))
        tied += int(np.count_nonzero((p.own - p.own_below > 1) | (p.other > p.other_below)))
    return _Curve(precision / positives, (precision + stricter) / positives / 2, ks, tied)


def _first(of: Callable[[Array], Array], levels: Array, n: int) -> Array:
    """For each of some levels the first index in 0..n-1 at which the ascending `of(index)` reaches it, else n: by halving, so that no
    more than a few of the n values are computed."""
    low, high = np.zeros(len(levels), dtype=np.intp), np.full(len(levels), n)
    while np.any(open_ := low < high):
        middle = (low + high) // 2
        reached = of(np.minimum(middle, n - 1)) >= levels
        low, high = np.where(open_ & ~reached, middle + 1, low), np.where(open_ & reached, middle, high)
    return low


def _overlap(i: _Ranks, o: _Ranks) -> float:
    """Overlap coefficient, sum over bins of min(share of ID, share of OOD), in [0, 1]. The bins are quantiles of the pooled
    scores, so that it does not change under a monotone transform of the scores; their number is the root of the smaller set's size,
    made even (2 to 100), so that one edge is the pooled median and separated sets overlap by 0."""
    n, m = len(i.values), len(o.values)
    bins = 2 * int(np.clip(np.sqrt(min(n, m)) / 2, 1, 50))
    # each set weighs the same in the pooled quantiles, however large it is; a quantile is the lower of the two sets' first scores there
    q = np.arange(1, bins) / bins - 1e-12

    def pooled(r: _Ranks, own: int, other: int) -> Array:
        def share(at: Array) -> Array:
            part = r.at(at)
            return 0.5 / own * part.own + 0.5 / other * part.other

        at = _first(share, q, own)
        return np.where(at < own, r.values[np.minimum(at, own - 1)], np.inf)

    edges = np.unique(np.minimum(pooled(i, n, m), pooled(o, m, n)))
    below = (np.concatenate([[0], np.searchsorted(r.values, edges, side="right"), [len(r.values)]]) for r in (i, o))
    return float(np.minimum(*(np.diff(x) / x[-1] for x in below)).sum())


def oscr(id_scores: ArrayLike, ood_scores: ArrayLike, id_correct: ArrayLike) -> float:
    """Open-set classification rate: area under the correct classification rate of known samples over the false positive rate of unknown.

    Exactly the share of (known, unknown) pairs in which the known sample is classified correctly and scores lower; a tie counts
    half. `id_correct` (N,) says which ID samples are classified correctly. Lies in [0, accuracy]. Source: the evaluation code of ARPL
    (Chen et al., TPAMI 2021), whose tie handling and off-by-one are not followed.
    """
    inside, outside = scores_array(id_scores, "ID scores"), np.sort(scores_array(ood_scores, "OOD scores"))
    correct = _correct_array(id_correct, len(inside), "correct ID predictions")
    hits = inside[correct]
    above = len(outside) - np.searchsorted(outside, hits, side="right")
    tied = np.searchsorted(outside, hits, side="right") - np.searchsorted(outside, hits, side="left")
    return float((above + tied / 2).sum() / (len(inside) * len(outside)))


def risk_coverage(scores: ArrayLike, losses: ArrayLike) -> tuple[float, float]:
    """AURC and AUGRC: areas under the selective risk and the generalised risk over coverage, lower is better.

    Samples are accepted from the lowest score up; with L(k) the summed loss of the first k of N, AURC = mean_k L(k) / k and AUGRC the
    area under L(k) / N. Tied samples are accepted in random order, and both are the expectation over it. Sources: Geifman and
    El-Yaniv, NeurIPS 2017; Traub et al., NeurIPS 2024 (fd-shifts, `rc_stats_utils.py`).
    """
    values, loss = scores_array(scores), scores_array(losses, "losses")
    if len(values) != len(loss):
        raise ValueError(f"losses: should have the shape ({len(values)},) of the scores, got {tuple(loss.shape)}")
    order = np.argsort(values, kind="stable")
    values, total = values[order], np.cumsum(loss[order])
    n = len(values)
    last = np.append(np.flatnonzero(values[1:] != values[:-1]), n - 1)
    ends, at_ends = np.concatenate([[0], last + 1]), np.concatenate([[0.0], total[last]])
    accepted = np.arange(1, n + 1)
    aurc = float(np.mean(np.interp(accepted, ends, at_ends) / accepted))
    augrc = float(np.sum(np.diff(ends) * (at_ends[1:] + at_ends[:-1]) / 2)) / n**2
    return aurc, augrc


# ---------------------------------------------------------------- the classifier


def _probabilities(logits: Tensor) -> Tensor:
    return torch.softmax(logits.to(torch.float64), dim=1)


def _check_logits(logits: Tensor) -> None:
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"logits: should have the shape (N, C), got {tuple(logits.shape)}")
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("logits: some are not finite")


def id_metrics(logits: Tensor, labels: Tensor, *, bins: int = 15, chunk: int = 8192) -> dict[str, float]:
    """Quality of the classifier on ID samples: id_accuracy, ece, nll, brier. logits (N, C), labels (N,) in 0..C-1.

    ``ece``: sum over `bins` equal-width bins of the maximal probability of (share of samples) * |accuracy - mean confidence| (Guo et al.,
    ICML 2017). ``nll``: mean of -log p_label. ``brier``: mean of sum_c (p_c - [c = label])^2, in [0, 2].
    """
    _check_logits(logits)
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels: should have the shape ({len(logits)},) of the logits, got {tuple(labels.shape)}")
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise ValueError(f"labels: should lie in 0..{logits.shape[1] - 1}, got {int(labels.min())}..{int(labels.max())}")
    n = len(logits)
    nll = brier = 0.0
    confidence, correct = np.empty(n), np.empty(n, dtype=bool)
    for start in range(0, n, chunk):
        z, y = logits[start : start + chunk], labels[start : start + chunk].to(logits.device)
        p = _probabilities(z)
        top, predicted = p.max(dim=1).values, z.argmax(dim=1)
        at = torch.arange(len(y), device=y.device)
        nll -= float(torch.log_softmax(z.to(torch.float64), dim=1)[at, y].sum())
        brier += float((p.square().sum(dim=1) - 2 * p[at, y] + 1).sum())
        confidence[start : start + chunk], correct[start : start + chunk] = top.cpu().numpy(), (predicted == y).cpu().numpy()
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(bin_of, weights=correct.astype(float) - confidence, minlength=bins)
    return {"id_accuracy": float(correct.mean()), "ece": float(np.abs(gap).sum() / n), "nll": nll / n, "brier": brier / n}


def analysis(logits: Tensor, *, chunk: int = 8192) -> dict[str, float]:
    """What label smoothing changes: means over samples of max_prob, max_logit, logit_norm (L2), non_max_std, non_max_ratio. (N, C).

    ``non_max_std`` is the sample standard deviation of the C - 1 probabilities other than the largest, the term that adaptive label
    smoothing penalises, and ``non_max_ratio`` the same of those probabilities divided by their sum, so that a large maximum does not hide
    how unequal the rest is. Both are left out for C = 2.
    """
    _check_logits(logits)
    n, classes = logits.shape
    totals = dict.fromkeys(("max_prob", "max_logit", "logit_norm") + (("non_max_std", "non_max_ratio") if classes > 2 else ()), 0.0)
    for start in range(0, n, chunk):
        z = logits[start : start + chunk].to(torch.float64)
        p = torch.softmax(z, dim=1).sort(dim=1).values
        totals["max_prob"] += float(p[:, -1].sum())
        totals["max_logit"] += float(z.max(dim=1).values.sum())
        totals["logit_norm"] += float(z.norm(dim=1).sum())
        if classes > 2:
            totals["non_max_std"] += float(p[:, :-1].std(dim=1).sum())
            # softmax over the other logits alone: std(p_rest) / (1 - p_max) without dividing two numbers that round to zero
            rest = z.sort(dim=1).values[:, :-1]
            totals["non_max_ratio"] += float(torch.softmax(rest, dim=1).std(dim=1).sum())
    return {name: total / n for name, total in totals.items()}


# ---------------------------------------------------------------- one row


def row_metrics(
    *,
    id_scores: ArrayLike,
    ood_scores: ArrayLike | None = None,
    id_correct: ArrayLike | None = None,
    edited_correct: ArrayLike | None = None,
    val_scores: ArrayLike | None = None,
    id_quality: Mapping[str, float] | None = None,
    id_analysis: Mapping[str, float] | None = None,
    ood_analysis: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """The metrics of one row of results.csv, {column: value}; what is undefined or was not given is left out.

    `ood_scores` None makes an ID-only row. `id_correct` (N,): is the network's own prediction right; `edited_correct` (N,): that of the
    network as the scorer edits it. `val_scores`: scores of ID validation samples, which alone choose the threshold of ``tpr95_in_val``
    (share of ID test accepted) and ``fpr95_in_val`` (share of OOD accepted). `id_quality` is `id_metrics` of the ID test logits,
    `id_analysis` and `ood_analysis` are `analysis` of the ID test and the OOD logits: they do not depend on the scorer, so
    compute them once. ``scod_*`` are `risk_coverage` on ID and OOD together with loss 1/2 for an accepted OOD sample and 1/2 for an
    accepted misclassified ID sample (Xia and Bouganis, ACCV 2022; as torch-uncertainty 0.13 defines it).
    """
    inside = scores_array(id_scores, "ID scores")
    row: dict[str, float] = {}
    correct = None if id_correct is None else _correct_array(id_correct, len(inside), "correct ID predictions")
    if correct is not None:
        row["id_accuracy"] = float(correct.mean())
    if edited_correct is not None:
        row["edited_accuracy"] = float(_correct_array(edited_correct, len(inside), "correct predictions of the edited network").mean())
    threshold = None
    if val_scores is not None:
        val = np.sort(scores_array(val_scores, "ID validation scores"))
        threshold = val[int(np.argmax(np.arange(1, len(val) + 1) / len(val) >= 0.95))]
        row["tpr95_in_val"] = float(np.mean(inside <= threshold))
    row |= {f"{name}_id": value for name, value in (id_analysis or {}).items()}
    if ood_scores is None:
        row |= {"n_id": len(inside), "n_ood": 0, "n_tied": int(len(inside) - _singles(inside)), **(id_quality or {})}
        if correct is not None:
            row["aurc"], row["augrc"] = risk_coverage(inside, (~correct).astype(float))
            if 0 < correct.sum() < len(correct):
                row["auroc_misclassified"] = detection_metrics(inside[correct], inside[~correct])["auroc"]
        return _in_order(row)
    outside = scores_array(ood_scores, "OOD scores")
    row |= _detection(inside, outside)
    if threshold is not None:
        row["fpr95_in_val"] = float(np.mean(outside <= threshold))
    if correct is not None:
        row["oscr"] = oscr(inside, outside, correct)
        losses = np.concatenate([(~correct) / 2, np.full(len(outside), 0.5)])
        row["scod_aurc"], row["scod_augrc"] = risk_coverage(np.concatenate([inside, outside]), losses)
    row |= {f"{name}_ood": value for name, value in (ood_analysis or {}).items()}
    return _in_order(row)


def _singles(values: Array) -> int:
    return int(np.count_nonzero(np.unique(values, return_counts=True)[1] == 1))


def _in_order(row: Mapping[str, float]) -> dict[str, float]:
    return {name: row[name] for name in METRICS if name in row}
