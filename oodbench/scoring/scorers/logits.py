"""Scores that read logits alone."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.given import needed


@scorer("msp", source="Hendrycks and Gimpel, ICLR 2017; OpenOOD v1.5 base_postprocessor")
class MSP(Scorer):
    """Maximum softmax probability: log(1 - max_c p_c), (N,), in (-inf, 0].

    Ranks like -max_c p_c and does not saturate: 1 - p is taken from the logits in float64, so that confident
    samples do not tie."""

    def score(self, outputs: Outputs) -> Tensor:
        return functional.log_one_minus_max_probability(outputs.logits)


@scorer(
    "mls",
    source=(
        "Hendrycks et al., ICML 2022 (maximum logit); Vaze et al., ICLR 2022; OpenOOD v1.5 mls_postprocessor"
    ),
)
class MLS(Scorer):
    """Maximum logit score: -max_c z_c, (N,)."""

    def score(self, outputs: Outputs) -> Tensor:
        return -functional.wide(outputs.logits).amax(dim=1)


@scorer("energy", source="Liu et al., NeurIPS 2020; OpenOOD v1.5 ebo_postprocessor")
class Energy(Scorer):
    """Free energy: -T * logsumexp(z / T), (N,). Default T = 1, the paper's."""

    search = {"temperature": (0.5, 1.0, 2.0, 5.0, 10.0)}

    def __init__(self, *, temperature: PositiveFloat = 1.0) -> None:
        self.temperature = temperature

    def score(self, outputs: Outputs) -> Tensor:
        return functional.energy(outputs.logits, self.temperature)


@scorer("entropy", source="pytorch-ood 0.4 detector/entropy.py; Chan et al., ICCV 2021", version=2)
class Entropy(Scorer):
    """Entropy of the softmax: -sum_c p_c log p_c, (N,), in [0, log C]. In float64, log p near 1 from the
    other logits: no ties at 0."""

    def score(self, outputs: Outputs) -> Tensor:
        log_p, log_rest = functional.log_odds(outputs.logits)
        exact = torch.where(log_p < -1e-3, log_p, torch.log1p(-log_rest.clamp(max=-1e-12).exp()))
        return -(log_p.exp() * exact).sum(dim=1)


@scorer("gen", source="Liu et al., CVPR 2023; OpenOOD v1.5 gen_postprocessor")
class GEN(Scorer):
    """Generalised entropy: sum over the `top` largest probabilities of p^gamma (1 - p)^gamma, (N,). Defaults
    are the paper's."""

    search = {"gamma": (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0), "top": (10, 50, 100, 200, 500, 1000)}

    def __init__(self, *, gamma: PositiveFloat = 0.1, top: PositiveInt = 100) -> None:
        self.gamma, self.top = gamma, top

    def score(self, outputs: Outputs) -> Tensor:
        log_p, log_q = functional.log_odds(outputs.logits)
        terms = (self.gamma * (log_p + log_q)).exp()
        top = log_p.topk(min(self.top, outputs.classes), dim=1).indices
        return terms.gather(1, top).sum(dim=1)


@scorer(
    "gradnorm",
    source="Huang et al., NeurIPS 2021; closed form checked against OpenOOD v1.5 gradnorm_postprocessor",
    version=2,
)
class GradNorm(Scorer):
    """Gradient norm: -||f||_1 * ||C p - 1||_1, (N,): the L1 norm of the gradient of sum_c -log p_c to the
    head's weight, negated."""

    needs = frozenset({"features"})

    def score(self, outputs: Outputs) -> Tensor:
        p = torch.softmax(outputs.logits.double(), dim=1)
        return -outputs.features.double().abs().sum(dim=1) * (outputs.classes * p - 1).abs().sum(dim=1)


@scorer(
    "temperature-scaling",
    source=(
        "Guo et al., ICML 2017; OpenOOD v1.5 temperature_scaling_postprocessor and pytorch-ood 0.4"
        " detector/tscaling.py (both stop before the optimum)"
    ),
)
class TemperatureScaling(Scorer):
    """MSP at the calibrated temperature: log(1 - max_c softmax(z / T)_c), (N,). T minimises the NLL of the
    validation labels.

    The NLL is convex in 1 / T, so the minimum in [0.01, 100] is found exactly by bisecting its derivative.
    Validation samples that are all classified correctly have no finite optimum: T is then 0.01."""

    needs = frozenset({"val"})
    bounds = (0.01, 100.0)

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        from scipy.optimize import brentq

        val = needed(val, "val", self)
        known = (val.labels >= 0) & (val.labels < val.classes)
        if not bool(known.any()):
            raise ValueError("no validation sample has a known class to calibrate the temperature on")
        z = val.logits[known].double()
        z = z - z.amax(dim=1, keepdim=True)  # exact for any size of the logits
        target = z.gather(1, val.labels[known].unsqueeze(1)).mean()

        def slope(log_temperature: float) -> float:
            """The sign of d NLL / d (1 / T)."""
            return float((torch.softmax(z / math.exp(log_temperature), dim=1) * z).sum(dim=1).mean() - target)

        low, high = (math.log(b) for b in self.bounds)
        if slope(low) <= 0:
            best = low
        elif slope(high) >= 0:
            best = high
        else:
            best = float(brentq(slope, low, high, xtol=1e-12))
        self.temperature = math.exp(best)

    def score(self, outputs: Outputs) -> Tensor:
        return functional.log_one_minus_max_probability(outputs.logits.double() / self.temperature)


@scorer("doctor", source="Granese et al., NeurIPS 2021; detectors library methods/doctor.py")
class Doctor(Scorer):
    """DOCTOR's odds of an error, as a logarithm: log((1 - g) / g), (N,). Alpha: g = sum_c p_c^2; beta: g =
    max_c p_c (ranks like MSP).

    p is the softmax of z / T. 1 - g is summed from p_c (1 - p_c) in float64, so that confident samples do not
    tie. Default T = 1, the paper's for a network of which only the probabilities are known."""

    search = {"variant": ("alpha", "beta"), "temperature": (0.5, 1.0, 1.5, 2.0, 5.0, 10.0, 100.0, 1000.0)}

    def __init__(
        self, *, variant: Literal["alpha", "beta"] = "alpha", temperature: PositiveFloat = 1.0
    ) -> None:
        self.variant, self.temperature = variant, temperature

    def score(self, outputs: Outputs) -> Tensor:
        log_p, log_q = functional.log_odds(outputs.logits.double() / self.temperature)
        if self.variant == "beta":
            top, index = log_p.max(dim=1, keepdim=True)
            return (log_q.gather(1, index) - top).squeeze(1)
        return torch.logsumexp(log_p + log_q, dim=1) - torch.logsumexp(2 * log_p, dim=1)


@scorer(
    "margin",
    source=(
        "Cattelan and Silva, UAI 2024, post_hoc.py and utils/measures.py of lfpc/FixSelectiveClassification"
    ),
)
class Margin(Scorer):
    """Best against second best: -(z_(1) - z_(2)), (N,), <= 0; with `of` = probabilities log(1 - (p_(1) -
    p_(2))).

    The latter ranks like -(p_(1) - p_(2)) and does not saturate.
    """

    search = {"of": ("logits", "probabilities")}

    def __init__(self, *, of: Literal["logits", "probabilities"] = "logits") -> None:
        self.of = of

    def score(self, outputs: Outputs) -> Tensor:
        z = outputs.logits.double()
        top = z.topk(2, dim=1).values
        if self.of == "logits":
            return top[:, 1] - top[:, 0]
        second = top[:, 1] - torch.logsumexp(z, dim=1)
        return torch.logaddexp(functional.log_one_minus_max_probability(z), second)


@scorer(
    "mls-pnorm",
    source=(
        "Cattelan and Silva, UAI 2024, post_hoc.py of lfpc/FixSelectiveClassification; Xia et al., ICLR 2025"
        " (abstract and README)"
    ),
)
class MLSPNorm(Scorer):
    """Maximum logit over the p-norm: -max_c (z_c - s) / ||z - s||_p, (N,), in float64; s is the logits' mean,
    their minimum or 0.

    Undoes what label smoothing does to the maximum logit. p is tuned in the papers (no default); here 4,
    centred on the mean. Equal logits stand out in nothing: score 0. With two classes and a shift the ratio is
    a constant, which is refused."""

    search = {"p": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0), "shift": ("mean", "min", "none")}

    def __init__(
        self,
        *,
        p: Annotated[float, Field(ge=1, le=100)] = 4.0,
        shift: Literal["mean", "min", "none"] = "mean",
    ) -> None:
        self.p, self.shift = p, shift

    def score(self, outputs: Outputs) -> Tensor:
        if outputs.classes == 2 and self.shift != "none":
            raise ValueError(
                f"two logits less their {self.shift} have a constant ratio to their norm; use shift: none"
            )
        z = outputs.logits.double()
        if self.shift == "mean":
            z = z - z.mean(dim=1, keepdim=True)
        elif self.shift == "min":
            z = z - z.amin(dim=1, keepdim=True)
        size = z.abs().amax(dim=1, keepdim=True)
        unit = z / torch.where(
            size > 0, size, torch.ones_like(size)
        )  # powers of at most 1: no overflow for any p
        norm = unit.abs().pow(self.p).sum(dim=1).clamp(min=1e-300).pow(1 / self.p)
        return -unit.amax(dim=1) / torch.where(size[:, 0] > 0, norm, torch.ones_like(norm))


@scorer(
    "max-cosine",
    source="Zhang and Xiang, CVPR 2023 (DML: MaxLogit = MaxCosine * MaxNorm; abstract and README)",
)
class MaxCosine(Scorer):
    """Maximum cosine logit: -max_c cos(f, w_c), (N,), in [-1, 1]; w_c are the rows of the head's weight. A
    zero feature scores 0."""

    needs = frozenset({"head", "features"})

    def score(self, outputs: Outputs) -> Tensor:
        weight = torch.nn.functional.normalize(outputs.required_head.weight.float(), dim=1)
        return -(functional.unit_features(outputs) @ weight.T).amax(dim=1)
