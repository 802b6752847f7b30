"""Scores that shape the activations and take the energy of the edited network, whose accuracy stands in their
rows."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.given import needed

Percentile = Annotated[float, Field(ge=0, le=100)]
Split = Literal["train", "val"]


def linear_head(outputs: Outputs) -> Head:
    """The head of the outputs in float32, as the features that it is given."""
    head = outputs.required_head
    return Head(head.weight.float(), head.bias.float())


class _Shaping(Scorer):
    """Energy of head(shape(f)); subclasses say how the features are shaped."""

    needs = frozenset({"head", "features"})
    fitted: object = None
    """Another object after each fit: what outputs memoise is of this scorer as it was fitted then."""

    def shape(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def logits(self, outputs: Outputs) -> Tensor:
        return outputs.memo(
            ("shaped", self, self.fitted), lambda: linear_head(outputs)(self.shape(outputs.features.float()))
        )

    def score(self, outputs: Outputs) -> Tensor:
        return functional.energy(self.logits(outputs))


@scorer("react", source="Sun et al., NeurIPS 2021; OpenOOD v1.5 react_postprocessor")
class ReAct(_Shaping):
    """Rectified activations: -logsumexp(W min(f, t) + b), (N,); t is a percentile of all activations,
    flattened.

    `fit_on`: the split t comes from (paper: train; OpenOOD: val). Default percentile 90, the paper's.
    """

    search = {"percentile": (80.0, 85.0, 90.0, 95.0, 99.0)}

    def __init__(self, *, percentile: Percentile = 90.0, fit_on: Split = "train") -> None:
        self.percentile, self.fit_on = percentile, fit_on
        self.needs = _Shaping.needs | {fit_on}

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        self.threshold = functional.percentile(
            needed(train if self.fit_on == "train" else val, self.fit_on, self).features, self.percentile
        )
        self.fitted = object()

    def shape(self, features: Tensor) -> Tensor:
        return features.clamp(max=self.threshold)


@scorer(
    "ash",
    source="Djurisic et al., ICLR 2023; OpenOOD v1.5 ash_net (b); pytorch-ood 0.4 detector/ash.py (p, s)",
)
class ASH(_Shaping):
    """Activation shaping: -logsumexp(W shape(f) + b), (N,); the lowest `percentile` per cent of each sample's
    activations are zeroed.

    Variant b sets the others to sum(f) / k, p leaves them, s multiplies them by exp(sum(f) / sum of the kept
    ones)."""

    search = {"percentile": (65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0)}

    def __init__(self, *, variant: Literal["b", "p", "s"] = "s", percentile: Percentile = 90.0) -> None:
        self.variant, self.percentile = variant, percentile

    def shape(self, features: Tensor) -> Tensor:
        kept, mask = functional.top_share(features, self.percentile)
        if self.variant == "p":
            return kept
        total = features.sum(dim=1, keepdim=True)
        if self.variant == "b":
            return mask * (total / mask.sum(dim=1, keepdim=True).clamp(min=1))
        return kept * torch.exp(functional.ratio(total, kept.sum(dim=1, keepdim=True)))


@scorer("scale", source="Xu et al., ICLR 2024; OpenOOD v1.5 scale_net")
class Scale(_Shaping):
    """SCALE: -logsumexp(W (f exp(r)) + b), (N,); r = sum(f) / sum of the activations above the sample's
    percentile. Nothing is zeroed."""

    search = {"percentile": (65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0)}

    def __init__(self, *, percentile: Percentile = 85.0) -> None:
        self.percentile = percentile

    def shape(self, features: Tensor) -> Tensor:
        kept, _ = functional.top_share(features, self.percentile)
        return features * torch.exp(
            functional.ratio(features.sum(dim=1, keepdim=True), kept.sum(dim=1, keepdim=True))
        )


@scorer(
    "lts",
    source=(
        "authors' github.com/andrijazz/lts lts.py; pytorch-ood 0.4 detector/lts.py (Djurisic et al., 2024)"
    ),
)
class LTS(Scorer):
    """Logit scaling: -logsumexp(r^2 z), (N,); r = sum(f+) / sum of the largest of f+ = max(f, 0), those above
    the sample's percentile.

    Default percentile 95: the paper's p = 5 %. The prediction stays as it was.
    """

    needs = frozenset({"features"})
    search = {"percentile": (65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0)}

    def __init__(self, *, percentile: Percentile = 95.0) -> None:
        self.percentile = percentile

    def logits(self, outputs: Outputs) -> Tensor:
        positive = outputs.features.float().clamp(min=0)
        kept, _ = functional.top_share(positive, self.percentile)
        scale = functional.ratio(positive.sum(dim=1, keepdim=True), kept.sum(dim=1, keepdim=True))
        return scale.square() * outputs.logits.float()

    def score(self, outputs: Outputs) -> Tensor:
        return functional.energy(self.logits(outputs))


@scorer(
    "dice", source="OpenOOD v1.5 dice_postprocessor; pytorch-ood 0.4 detector/dice.py (Sun and Li, ECCV 2022)"
)
class DICE(Scorer):
    """Directed sparsification: -logsumexp((W * M) f + b), (N,); M keeps the weights whose contribution W_cd
    E[f_d] on train lies above the percentile of all contributions. Default 90, the paper's for CIFAR; 0 keeps
    every weight."""

    needs = frozenset({"train", "head", "features"})
    search = {"percentile": (10.0, 30.0, 50.0, 70.0, 90.0)}

    def __init__(self, *, percentile: Annotated[float, Field(ge=0, lt=100)] = 90.0) -> None:
        self.percentile = percentile

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        head = linear_head(train)
        means, _ = functional.class_means(train.features, torch.zeros_like(train.labels), 1)
        contribution = head.weight.double() * means
        kept = (
            contribution > functional.percentile(contribution, self.percentile) if self.percentile else True
        )
        self.head = Head(
            torch.where(torch.as_tensor(kept, device=head.weight.device), head.weight, 0.0), head.bias
        )
        if not bool(self.head.weight.any()):
            raise ValueError(
                f"no weight contributes more than the {self.percentile:g}th percentile does: all would be"
                " removed"
            )
        self.fitted = object()

    def logits(self, outputs: Outputs) -> Tensor:
        return outputs.memo(("shaped", self, self.fitted), lambda: self.head(outputs.features.float()))

    def score(self, outputs: Outputs) -> Tensor:
        return functional.energy(self.logits(outputs))


@scorer(
    "vra",
    source=(
        "authors' github.com/zeroQiaoba/VRA quick_ood.py and readme; OpenOOD v1.5 vra_postprocessor;"
        " pytorch-ood 0.4 detector/vra.py (Xu et al., NeurIPS 2023)"
    ),
)
class VRA(_Shaping):
    """Variational rectified activation: -logsumexp(W g(f) + b), (N,); g(f) = 0 below `low`, f between, the
    upper threshold above `high`.

    The thresholds are percentiles of all activations (OpenOOD's) or of each `feature`'s (the authors'); 60
    and 90 are the authors' for CIFAR-10. `below`: what becomes of activations under the lower threshold; the
    paper zeroes them, OpenOOD and pytorch-ood raise (clip) them to it. Percentiles per feature come from at
    most `samples` evenly spaced rows. It is made for features >= 0: where the lower threshold is negative,
    zero lies above it, and what should be cut is raised."""

    search = {"low": (1.0, 5.0, 10.0, 15.0, 50.0, 60.0), "high": (85.0, 90.0, 95.0, 99.0)}

    def __init__(
        self, *, low: Percentile = 60.0, high: Percentile = 90.0, below: Literal["zero", "clip"] = "zero",
        per: Literal["all", "feature"] = "all", fit_on: Split = "train", samples: PositiveInt = 50_000,
    ) -> None:  # fmt: skip
        if low > high:
            raise UserError(f"scorer 'vra': low ({low:g}) should be at most high ({high:g})")
        self.low, self.high, self.below, self.per, self.fit_on, self.samples = (
            low,
            high,
            below,
            per,
            fit_on,
            samples,
        )
        self.needs = _Shaping.needs | {fit_on}

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        features = needed(train if self.fit_on == "train" else val, self.fit_on, self).features
        self.fitted = object()
        if self.per == "all":
            bounds = [functional.percentile(features, q) for q in (self.low, self.high)]
            self.lower, self.upper = torch.tensor(bounds, dtype=torch.float32, device=features.device)
        else:
            self.lower, self.upper = functional.column_percentiles(
                features, (self.low, self.high), self.samples
            )

    def shape(self, features: Tensor) -> Tensor:
        if self.below == "clip":
            return features.clamp(self.lower, self.upper)
        return torch.where(features < self.lower, 0.0, features.minimum(self.upper))


@scorer(
    "optfs", source="authors' github.com/Qinyu-Allen-Zhao/OptFSOOD detector/ours.py (Zhao et al., ICLR 2024)"
)
class OptFS(Scorer):
    """Optimal feature shaping: -w_y . g(f), (N,); y is the prediction, g multiplies each activation by the
    weight theta_k of its bin.

    The `bins` are equally wide between the 0.1th and 99.9th percentile of all training activations, and
    activations outside are zeroed; theta_k is proportional to the mean over train of the part of w_y . f that
    falls into bin k, its norm sqrt(bins). `score` energy:
    -logsumexp(W g(f) + b) instead.
    """

    needs = frozenset({"train", "head", "features"})
    search = {"bins": (50, 100, 200)}

    def __init__(
        self, *, bins: PositiveInt = 100, score: Literal["max-logit", "energy"] = "max-logit"
    ) -> None:
        self.bins, self.kind = bins, score

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        weight = linear_head(train).weight
        self.left, right = (functional.percentile(train.features, q) for q in (0.1, 99.9))
        self.width = max(right - self.left, 1e-12) / self.bins
        sums = torch.zeros(self.bins + 2, dtype=torch.float64, device=weight.device)
        for f, z in zip(
            functional.blocks(train.features, 4096), functional.blocks(train.logits, 4096), strict=True
        ):
            part = weight[z.argmax(dim=1)] * f
            sums += torch.bincount(self._bin(f).flatten(), part.flatten().double(), minlength=self.bins + 2)
        sums[0] = sums[-1] = 0
        norm = float(sums.norm())
        if norm == 0:
            raise ValueError("every training activation is zero or alike: there is nothing to shape")
        self.theta = (sums / norm * self.bins**0.5).float()
        self.fitted = object()

    def _bin(self, features: Tensor) -> Tensor:
        """Number of each activation's bin: 1 ... bins, and 0 or bins + 1 outside."""
        return (((features - self.left) / self.width).floor() + 1).clamp(0, self.bins + 1).to(torch.int32)

    def _shaped(self, outputs: Outputs) -> Tensor:
        features = outputs.features.float()
        return outputs.memo(
            ("shape", self, self.fitted), lambda: self.theta[self._bin(features).long()] * features
        )

    def logits(self, outputs: Outputs) -> Tensor:
        return linear_head(outputs)(self._shaped(outputs))

    def score(self, outputs: Outputs) -> Tensor:
        if self.kind == "energy":
            return functional.energy(self.logits(outputs))
        return -(linear_head(outputs).weight[outputs.predictions] * self._shaped(outputs)).sum(dim=1)
