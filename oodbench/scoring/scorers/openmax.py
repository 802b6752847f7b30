"""Scores from extreme-value theory."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.given import needed

TRANSLATION = 10_000.0
"""libmr fits the tail's distances less their smallest plus this constant; only the shift of scale matters."""
_STEEPEST = 1e9


def weibull(tail: Tensor) -> tuple[float, float]:
    """Shape and scale that maximise the likelihood of positive samples (n,) under a two-parameter Weibull
    distribution.

    A tail of equal values has no finite shape: it is then 1e9, a step at that value.
    """
    from scipy.optimize import brentq

    largest = float(tail.max())
    y = (tail.double() / largest).log()  # <= 0, so that powers do not overflow
    mean = float(y.mean())

    def slope(shape: float) -> float:
        power = (shape * y).exp()
        return float((power * y).sum() / power.sum()) - 1 / shape - mean

    high = 1.0
    while slope(high) < 0 and high < _STEEPEST:
        high *= 4
    shape = float(brentq(slope, 1e-6, high, xtol=1e-12 * high)) if high < _STEEPEST else _STEEPEST
    return shape, largest * math.exp(float((shape * y).exp().mean().log()) / shape)


@scorer(
    "openmax",
    source=(
        "Bendale and Boult, CVPR 2016; OpenOOD v1.5 openmax_postprocessor; pytorch-ood 0.4 detector/openmax"
        " (libmr's translation)"
    ),
)
class OpenMax(Scorer):
    """OpenMax: log(P(unknown) / (1 - P(unknown))) = s - logsumexp(z'), (N,); ranks like P(unknown) and
    neither saturates nor overflows.

    z'_c = z_c (1 - r_c w_c), s = sum_c z_c r_c w_c; r_c = (alpha + 1 - rank) / alpha for the `alpha` (at most
    C) largest logits, 0 for others; w_c is the Weibull probability of the distance of z to the mean logits of
    class c, fitted to the `tail` largest training distances of that class. Means and tails are of correctly
    classified samples; a class without any takes all of its samples, and one without samples is never known
    (w = 1).

    Distance: euclidean_weight * ||z - m||_2 + (1 - euclidean_weight) * (1 - cos(z, m)). Defaults alpha = 10,
    tail = 20 are the paper's, the Euclidean distance OpenOOD's (which takes alpha = 3)."""

    needs = frozenset({"train"})
    search = {"alpha": (1, 3, 5, 10, 20), "tail": (10, 20, 50)}

    def __init__(
        self,
        *,
        alpha: PositiveInt = 10,
        tail: PositiveInt = 20,
        euclidean_weight: Annotated[float, Field(ge=0, le=1)] = 1.0,
    ) -> None:
        self.alpha, self.tail, self.euclidean_weight = alpha, tail, euclidean_weight

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        classes, labels = train.classes, train.labels
        known = (labels >= 0) & (labels < classes)
        if not bool(known.any()):
            raise ValueError("no training sample has a known class")
        right = known & (train.logits.argmax(dim=1) == labels)
        some_right = torch.bincount(labels[right], minlength=classes) > 0
        used = torch.where(known, right | ~some_right[labels.clamp(0, classes - 1)], known)
        self.centres, _ = functional.class_means(train.logits, torch.where(used, labels, -1), classes)
        rows = used.nonzero().squeeze(1)
        own = torch.cat([self._to_own(train.logits[r].double(), labels[r]) for r in rows.split(4096)])
        shape, scale, smallest = [], [], []
        by_distance = own.argsort()
        order = by_distance[labels[rows][by_distance].argsort(stable=True)]  # by class, then by distance
        for group in own[order].split(torch.bincount(labels[rows], minlength=classes).tolist()):
            tail = group[-self.tail :]
            fitted = weibull(tail - tail[0] + TRANSLATION) if len(tail) else (1.0, 0.0)
            shape.append(fitted[0])
            scale.append(fitted[1])
            smallest.append(float(tail[0]) if len(tail) else 0.0)
        self.shape, self.scale, self.smallest = (
            torch.tensor(v, dtype=torch.float64, device=own.device) for v in (shape, scale, smallest)
        )

    def _distance(self, euclidean: Tensor, cosine: Tensor) -> Tensor:
        return self.euclidean_weight * euclidean + (1 - self.euclidean_weight) * (1 - cosine)

    def _to_own(self, z: Tensor, labels: Tensor) -> Tensor:
        """Distance of each sample to the centre of its class, (N,)."""
        centres = self.centres[labels]
        return self._distance((z - centres).norm(dim=1), torch.cosine_similarity(z, centres, dim=1))

    def _to_all(self, z: Tensor) -> Tensor:
        """Distances to all centres, (N, C)."""
        square = (
            z.square().sum(dim=1, keepdim=True) + self.centres.square().sum(dim=1) - 2 * z @ self.centres.T
        )
        cosine = functional.normalised(z) @ functional.normalised(self.centres).T
        return self._distance(square.clamp(min=1e-24).sqrt(), cosine)

    def score(self, outputs: Outputs) -> Tensor:
        z = outputs.logits.double()
        top = min(self.alpha, outputs.classes)
        ranks = torch.arange(top, dtype=z.dtype, device=z.device)
        weight = torch.zeros_like(z).scatter(
            1, z.topk(top, dim=1).indices, ((top - ranks) / top).expand(len(z), -1)
        )
        translated = (self._to_all(z) - self.smallest + TRANSLATION).clamp(min=1e-12)
        exponent = self.shape * (translated / self.scale.clamp(min=1e-300)).log()
        outlying = -torch.expm1(-exponent.clamp(max=50).exp())
        outlying = torch.where(self.scale > 0, outlying, torch.ones_like(outlying))
        removed = z * weight * outlying
        return removed.sum(dim=1) - torch.logsumexp(z - removed, dim=1)
