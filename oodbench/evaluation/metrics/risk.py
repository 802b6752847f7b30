"""Curves of a classifier that may refuse: OSCR, risk over coverage."""

from __future__ import annotations

import numpy as np

from oodbench.core.errors import BadValue
from oodbench.evaluation.metrics.arrays import ArrayLike, correct_array, scores_array


def oscr(id_scores: ArrayLike, ood_scores: ArrayLike, id_correct: ArrayLike) -> float:
    """Open-set classification rate: area under the correct classification rate of known samples over the
    false positive rate of unknown ones.

    Exactly the share of (known, unknown) pairs in which the known sample is classified correctly and scores
    lower; a tie counts half. Source: the evaluation code of ARPL (Chen et al., TPAMI 2021), whose tie
    handling and off-by-one are not followed.

    Args:
        id_scores: (N,), higher = more OOD.
        ood_scores: (M,).
        id_correct: (N,), which ID samples are classified correctly.

    Returns:
        In [0, accuracy].
    """
    inside, outside = scores_array(id_scores, "ID scores"), np.sort(scores_array(ood_scores, "OOD scores"))
    correct = correct_array(id_correct, len(inside), "correct ID predictions")
    hits = inside[correct]
    above = len(outside) - np.searchsorted(outside, hits, side="right")
    tied = np.searchsorted(outside, hits, side="right") - np.searchsorted(outside, hits, side="left")
    return float((above + tied / 2).sum() / (len(inside) * len(outside)))


def risk_coverage(scores: ArrayLike, losses: ArrayLike) -> tuple[float, float]:
    """Areas under the selective risk and the generalised risk over coverage; lower is better.

    Samples are accepted from the lowest score up. With L(k) the summed loss of the first k of N, AURC is the
    mean over k of L(k) / k, and AUGRC the area under L(k) / N. Tied samples are accepted in random order, and
    both are the expectation over it. Sources: Geifman and El-Yaniv, NeurIPS 2017; Traub et al., NeurIPS 2024
    (fd-shifts, `rc_stats_utils.py`).

    Args:
        scores: (N,).
        losses: (N,), 1 for a wrong prediction, 0 for a right one, or anything between.

    Returns:
        AURC and AUGRC.
    """
    values, loss = scores_array(scores), scores_array(losses, "losses")
    if len(values) != len(loss):
        raise BadValue(
            f"losses: should have the shape ({len(values)},) of the scores, got {tuple(loss.shape)}"
        )
    order = np.argsort(values, kind="stable")
    values, total = values[order], np.cumsum(loss[order])
    n = len(values)
    last = np.append(np.flatnonzero(values[1:] != values[:-1]), n - 1)
    ends, at_ends = np.concatenate([[0], last + 1]), np.concatenate([[0.0], total[last]])
    accepted = np.arange(1, n + 1)
    aurc = float(np.mean(np.interp(accepted, ends, at_ends) / accepted))
    augrc = float(np.sum(np.diff(ends) * (at_ends[1:] + at_ends[:-1]) / 2)) / n**2
    return aurc, augrc
