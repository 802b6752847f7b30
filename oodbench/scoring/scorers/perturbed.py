"""Scores that look again at the inputs, through a view."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.registry import build, scorer
from oodbench.core.scorer import Scorer, View
from oodbench.core.spec import spec_of
from oodbench.scoring import functional
from oodbench.scoring.given import needed

Percentile = Annotated[float, Field(ge=0, le=100)]


@scorer(
    "odin",
    source=("Liang et al., ICLR 2018, calData.py of facebookresearch/odin; OpenOOD v1.5 odin_postprocessor"),
    version=2,
)
class ODIN(Scorer):
    """ODIN: log(1 - max_c softmax(z(x') / T)_c), (N,); x' = x moved by epsilon (of inputs in [0, 1]) towards
    a higher maximum.

    Ranks like -max softmax and does not saturate. Defaults T = 1000, epsilon = 0.0014 are the paper's. In
    normalised inputs the step is epsilon / std, as in the code read."""

    search = {"temperature": (1.0, 10.0, 100.0, 1000.0), "epsilon": (0.0, 0.0007, 0.0014, 0.0028)}

    def __init__(self, *, temperature: PositiveFloat = 1000.0, epsilon: NonNegativeFloat = 0.0014) -> None:
        self.temperature, self.epsilon = temperature, epsilon

    def view(self) -> View:
        return build("view", {"perturbation": {"temperature": self.temperature, "epsilon": self.epsilon}})

    def score(self, outputs: Outputs) -> Tensor:
        return functional.log_one_minus_max_probability(
            functional.wide(outputs.extras["perturbation.logits"]) / self.temperature
        )


@scorer(
    "mds-odin",
    source=(
        "Lee et al., NeurIPS 2018, lib_generation.py and the magnitudes of"
        " pokaxpoka/deep_Mahalanobis_detector; OpenOOD v1.5 mds_ensemble_postprocessor (noise)"
    ),
    version=2,
)
class MDSODIN(Scorer):
    """Mahalanobis distance after input perturbation: min_c (f(x') - mu_c)^T S^-1 (f(x') - mu_c), (N,); x' = x
    moved by epsilon (of inputs in [0, 1]) against the gradient of that distance.

    In normalised inputs the step is epsilon / std, as in the authors' code, whose magnitudes are searched.
    OpenOOD's is epsilon / 0.5 whatever std is: its 0.0014, the default here, is 0.0007 in this unit where std
    is 0.25. `of`: any differentiable scorer of logits and features in place of mds."""

    search = {"epsilon": (0.0, 0.0005, 0.001, 0.0014, 0.002, 0.005, 0.01)}

    def __init__(self, *, of: Scorer = cast(Scorer, "mds"), epsilon: NonNegativeFloat = 0.0014) -> None:
        if not of.differentiable or of.view() is not None or of.extras:
            raise UserError(
                f"scorer 'mds-odin': {spec_of(of).label!r} gives no gradient of logits and features; choose"
                " another for `of`"
            )
        self.of, self.epsilon = of, epsilon

    def view(self) -> View:
        return build("view", {"score-perturbation": {"of": spec_of(self.of), "epsilon": self.epsilon}})

    def score(self, outputs: Outputs) -> Tensor:
        return outputs.extras["score-perturbation.score"]


@scorer(
    "mc-dropout",
    source=(
        "pytorch-ood 0.4 detector/mcd.py (mean); Gal, PhD thesis 2016, and Smith and Gal, UAI 2018"
        " (entropies)"
    ),
)
class MCDropout(Scorer):
    """Monte Carlo dropout over `passes`, p_t the softmax of pass t and p their mean, (N,). `statistic` mean:
    log(1 - max_c p_c); entropy: H(p); mutual-information: H(p) - mean_t H(p_t), >= 0.

    A network without dropout has its features dropped with probability `p` before the head. Defaults as the
    view's."""

    def __init__(
        self, *, statistic: Literal["mean", "entropy", "mutual-information"] = "mean",
        passes: PositiveInt = 30,
        p: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    ) -> None:  # fmt: skip
        self.statistic, self.passes, self.p = statistic, passes, p

    def view(self) -> View:
        return build("view", {"mc-dropout": {"passes": self.passes, "p": self.p}})

    def score(self, outputs: Outputs) -> Tensor:
        p = outputs.extras["mc-dropout.probabilities"].double().clamp(min=torch.finfo(torch.float32).tiny)
        if self.statistic == "mean":
            return p.scatter(1, p.argmax(dim=1, keepdim=True), 0.0).sum(dim=1).log()
        entropy = -(p * p.log()).sum(dim=1)
        if self.statistic == "entropy":
            return entropy
        return (entropy - outputs.extras["mc-dropout.entropy"].double()).clamp(min=0)


@scorer(
    "adascale",
    source="OpenOOD v1.5 adascale_postprocessor, adascale_net and adascale_a.yml (Regmi, 2025)",
    version=2,
)
class AdaSCALE(Scorer):
    """Adaptive scaling, variant a: -logsumexp(W (f exp(r)) + b), l: -logsumexp(r^2 z), (N,); r = sum(f+) /
    sum of the largest of f+ = max(f, 0), those above the sample's percentile low + (1 - F(Q)) (high - low).

    Q = sum of f'+ over the `k1` per cent largest f + weight * sum of |f - f'| over the `k2` per cent largest
    f; f' are the features after a trivial perturbation of the input, F is the distribution of Q on ID
    validation. Defaults are OpenOOD's."""

    needs = frozenset({"val", "head", "features"})
    search = {
        "low": (60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0),
        "high": (65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 99.0),
    }

    def __init__(
        self, *, variant: Literal["a", "l"] = "a", low: Percentile = 75.0, high: Percentile = 85.0,
        k1: Percentile = 5.0,
        k2: Percentile = 1.0, weight: NonNegativeFloat = 10.0,
        share: Annotated[float, Field(gt=0, le=1)] = 0.05,
    ) -> None:  # fmt: skip
        if low > high:
            raise UserError(f"scorer 'adascale': low ({low:g}) should be at most high ({high:g})")
        self.variant, self.low, self.high, self.k1, self.k2, self.weight, self.share = (
            variant,
            low,
            high,
            k1,
            k2,
            weight,
            share,
        )

    def view(self) -> View:
        return build("view", {"weak-pixels": {"share": self.share}})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        val = needed(val, "val", self)
        self.known = self._shift(val).sort().values

    def _shift(self, outputs: Outputs) -> Tensor:
        f, moved = outputs.features.float(), outputs.extras["weak-pixels.features"].float()
        order = f.argsort(dim=1, descending=True)
        k1, k2 = (max(1, int(f.shape[1] * k / 100)) for k in (self.k1, self.k2))
        stays = moved.clamp(min=0).gather(1, order[:, :k1]).sum(dim=1)
        return stays + self.weight * (f - moved).abs().gather(1, order[:, :k2]).sum(dim=1)

    def logits(self, outputs: Outputs) -> Tensor:
        head = outputs.required_head
        f = outputs.features.float()
        rank = torch.searchsorted(self.known.to(f.device), self._shift(outputs), right=True) / len(self.known)
        percentile = self.low + (1 - rank) * (self.high - self.low)
        width = f.shape[1]
        kept = (width - (width * percentile / 100).round()).clamp(min=1)
        largest = f.clamp(min=0).sort(dim=1, descending=True).values
        part = (largest * (torch.arange(width, device=f.device) < kept.unsqueeze(1))).sum(dim=1, keepdim=True)
        r = functional.ratio(largest.sum(dim=1, keepdim=True), part)
        if self.variant == "l":
            return r.square() * outputs.logits.float()
        return Head(head.weight.float(), head.bias.float())(f * r.exp())

    def score(self, outputs: Outputs) -> Tensor:
        return functional.energy(self.logits(outputs))
