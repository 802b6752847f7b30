"""Scores that read a head which a training method attached: offered only where that method trained the
network."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import build, scorer
from oodbench.core.scorer import Scorer, View
from oodbench.scoring.given import needed


@scorer(
    "godin",
    source=(
        "Hsu et al., CVPR 2020, by way of OpenOOD v1.5 godin_postprocessor.py and code/cal.py of"
        " guyera/Generalized-ODIN-Implementation"
    ),
    version=2,
)
class GODIN(Scorer):
    """Generalised ODIN's parts, (N,): -max_c h_c(x') with x' = x moved by epsilon (of inputs in [0, 1]) to a
    higher maximum; or -g(x).

    h are the network's logits, cosines in [-1, 1]; g in (0, 1) is the head that method `godin` attaches.
    epsilon = 0.0025 is OpenOOD's, a step of epsilon / std in normalised inputs. OpenOOD takes the maximum of
    softmax(h(x')), where the other code read takes that of h, as here."""

    extras = frozenset({"godin"})
    search = {"part": ("h", "g"), "epsilon": (0.0, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)}

    def __init__(self, *, part: Literal["h", "g"] = "h", epsilon: NonNegativeFloat = 0.0025) -> None:
        self.part, self.epsilon = part, epsilon

    def view(self) -> View | None:
        if self.part == "g":
            return None
        return build("view", {"score-perturbation": {"of": "mls", "epsilon": self.epsilon}})

    def score(self, outputs: Outputs) -> Tensor:
        return (
            -outputs.extras["godin"].flatten()
            if self.part == "g"
            else outputs.extras["score-perturbation.score"]
        )


@scorer("background", source="Dhamija et al., NeurIPS 2018, by way of pytorch-ood 0.4 loss/background.py")
class Background(Scorer):
    """Log odds of the background class: z_b - logsumexp_c z_c, (N,); z_b is the head that method
    `background-class` attaches."""

    extras = frozenset({"background"})

    def score(self, outputs: Outputs) -> Tensor:
        return outputs.extras["background"].flatten().double() - torch.logsumexp(
            outputs.logits.double(), dim=1
        )


@scorer("mcd", source="Yu and Aizawa, ICCV 2019, by way of OpenOOD v1.5 mcd_postprocessor.py")
class MCD(Scorer):
    """Discrepancy of two classifiers: ||softmax(z1) - softmax(z2)||_1, (N,), in [0, 2]; z2 is the head that
    method `mcd` attaches."""

    extras = frozenset({"mcd"})

    def score(self, outputs: Outputs) -> Tensor:
        one, two = (torch.softmax(z.double(), dim=1) for z in (outputs.logits, outputs.extras["mcd"]))
        return (one - two).abs().sum(dim=1)


@scorer("rotation", source="Hendrycks et al., NeurIPS 2019, by way of OpenOOD v1.5 rotpred_postprocessor.py")
class Rotation(Scorer):
    """Rotation prediction: mean over four turns of -log softmax(z_rot)_turn - KL(uniform || softmax(z)),
    (N,), in nats (the code read: bits).

    KL(uniform || p) = logsumexp(z) - mean_c z_c - log C. z_rot are the logits of the head that method
    `rotation` attaches."""

    extras = frozenset({"rotation"})

    def view(self) -> View:
        return build("view", "rotations")

    def score(self, outputs: Outputs) -> Tensor:
        z = outputs.logits.double()
        turned = torch.log_softmax(outputs.extras["rotations.logits"].double(), dim=2).diagonal(
            dim1=1, dim2=2
        )
        from_uniform = torch.logsumexp(z, dim=1) - z.mean(dim=1) - math.log(z.shape[1])
        return -turned.mean(dim=1) - from_uniform


@scorer(
    "confidence",
    source="DeVries and Taylor, arXiv 1802.04865, by way of OpenOOD v1.5 conf_branch_postprocessor.py",
)
class Confidence(Scorer):
    """Learnt confidence: -a, (N,), which ranks like -sigmoid(a); a is the head that method
    `confidence-branch` attaches."""

    extras = frozenset({"confidence"})

    def score(self, outputs: Outputs) -> Tensor:
        return -outputs.extras["confidence"].flatten()


@scorer("decoupled", source="Zhang and Xiang, CVPR 2023; test_DML+.py of Z-ZHHH/CVPR23-DML")
class Decoupled(Scorer):
    """DML+: -(max_c z_c / m_z + ||g|| / m_g), (N,); z are scaled cosines, g the features of the second body
    that method `decoupled` trains.

    m_z and m_g are the means of both terms over ID validation samples (the code read takes the ID test
    set's)."""

    needs = frozenset({"val"})
    extras = frozenset({"decoupled"})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        val = needed(val, "val", self)
        self.means = [float(term.mean().abs().clamp(min=1e-12)) for term in self._terms(val)]

    def score(self, outputs: Outputs) -> Tensor:
        cosine, norm = self._terms(outputs)
        return -(cosine / self.means[0] + norm / self.means[1])

    @staticmethod
    def _terms(outputs: Outputs) -> tuple[Tensor, Tensor]:
        return outputs.logits.double().amax(dim=1), outputs.extras["decoupled"].flatten().double()
