"""What is measured of the classifier itself: accuracy, calibration, how its logits and features lie."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from oodbench.evaluation.metrics.arrays import ArrayLike, labels_tensor, logits_tensor, whole


def _probabilities(logits: Tensor) -> Tensor:
    return torch.softmax(logits.to(torch.float64), dim=1)


def id_metrics(
    logits: ArrayLike, labels: ArrayLike, *, bins: int = 15, chunk: int = 8192
) -> dict[str, float]:
    """Quality of the classifier on ID samples.

    Args:
        logits: (N, C), C >= 2, finite, no probabilities.
        labels: (N,), in 0..C-1, integers of any width.
        bins: of the calibration error.
        chunk: how many samples are worked on at a time.

    Returns:
        ``id_accuracy``; ``ece``, the sum over bins of equal width of (share of samples) * |accuracy - mean
        confidence|, with the maximal probability as confidence (Guo et al., ICML 2017); ``nll``, the mean of
        -log p_label; ``brier``, the mean of sum_c (p_c - [c = label])^2, in [0, 2].

    Raises:
        ValueError: it says what is wrong with which.
    """
    z_all = logits_tensor(logits)
    y_all = labels_tensor(labels, z_all)
    bins, chunk = whole(bins, "bins"), whole(chunk, "chunk")
    n = len(z_all)
    nll = brier = 0.0
    confidence, correct = np.empty(n), np.empty(n, dtype=bool)
    for start in range(0, n, chunk):
        z, y = z_all[start : start + chunk], y_all[start : start + chunk].to(z_all.device)
        p = _probabilities(z)
        top, predicted = p.max(dim=1).values, z.argmax(dim=1)
        at = torch.arange(len(y), device=y.device)
        nll -= float(torch.log_softmax(z.to(torch.float64), dim=1)[at, y].sum())
        brier += float((p.square().sum(dim=1) - 2 * p[at, y] + 1).sum())
        confidence[start : start + chunk], correct[start : start + chunk] = (
            top.cpu().numpy(),
            (predicted == y).cpu().numpy(),
        )
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(bin_of, weights=correct.astype(float) - confidence, minlength=bins)
    return {
        "id_accuracy": float(correct.mean()),
        "ece": float(np.abs(gap).sum() / n),
        "nll": nll / n,
        "brier": brier / n,
    }


def analysis(logits: ArrayLike, *, chunk: int = 8192) -> dict[str, float]:
    """What label smoothing changes in the outputs.

    Args:
        logits: (N, C), C >= 2, finite, no probabilities.
        chunk: how many samples are worked on at a time.

    Returns:
        Means over samples: ``max_prob``, ``max_logit``, ``logit_norm`` (L2), ``non_max_std`` and
        ``non_max_ratio``. ``non_max_std`` is the sample standard deviation of the C - 1 probabilities other
        than the largest, the term that adaptive label smoothing penalises. ``non_max_ratio`` is the same of
        those probabilities divided by their sum, so that a large maximum does not hide how unequal the rest
        is. Both are left out for C = 2.

    Raises:
        ValueError: it says what is wrong.
    """
    z_all, chunk = logits_tensor(logits), whole(chunk, "chunk")
    n, classes = z_all.shape
    totals = dict.fromkeys(
        ("max_prob", "max_logit", "logit_norm") + (("non_max_std", "non_max_ratio") if classes > 2 else ()),
        0.0,
    )
    for start in range(0, n, chunk):
        z = z_all[start : start + chunk].to(torch.float64)
        p = torch.softmax(z, dim=1).sort(dim=1).values
        totals["max_prob"] += float(p[:, -1].sum())
        totals["max_logit"] += float(z.max(dim=1).values.sum())
        totals["logit_norm"] += float(z.norm(dim=1).sum())
        if classes > 2:
            totals["non_max_std"] += float(p[:, :-1].std(dim=1).sum())
            # softmax over the other logits alone: std(p_rest) / (1 - p_max) without dividing two numbers that
            # round to zero
            rest = z.sort(dim=1).values[:, :-1]
            totals["non_max_ratio"] += float(torch.softmax(rest, dim=1).std(dim=1).sum())
    return {name: total / n for name, total in totals.items()}
