"""DML+: two networks as one, the first trained for the angles of its features, the second for their norms."""

from __future__ import annotations

import copy
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import cross_entropy, linear, normalize

from oodbench.core.method import Batch, Course, Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.training.methods.shared import Buffers, memory, too_late, width

_EARLY = (
    0.2  # share of the centre term's weight in its first tenth of training: 0.001 of 0.005 in the code read
)


class Bodies(nn.Module):
    """Features of two bodies side by side, (B, 2 D)."""

    def __init__(self, cosine: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.cosine, self.norm = cosine, norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.cosine(x), self.norm(x)], dim=1)


class UnitRows(nn.Module):
    """x @ normalize(W).T of inputs (B, D): logits (B, C) of a linear layer without bias whose rows have
    length 1."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(normalize(2 * torch.rand(classes, features) - 1, dim=1))

    def forward(self, features: Tensor) -> Tensor:
        return linear(features, normalize(self.weight, dim=1))


class Angles(UnitRows):
    """Scaled cosines of the first body's features, logits (B, C) of features (B, 2 D)."""

    def __init__(self, features: int, classes: int, scale: float) -> None:
        super().__init__(features, classes)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(self.scale * normalize(features[:, : self.weight.shape[1]], dim=1))


class Length(nn.Module):
    """Norm of the second body's features, (B, 1), of features (B, 2 D)."""

    def forward(self, features: Tensor) -> Tensor:
        return vector_norm(features[:, features.shape[1] // 2 :], dim=1, keepdim=True)


@method(
    "decoupled",
    source=(
        "Zhang and Xiang, CVPR 2023 (README); common/CenterLoss.py, common/FocalLoss.py, algorithms/,"
        " models/wrn.py and test_DML+.py of Z-ZHHH/CVPR23-DML"
    ),
)
class Decoupled(Method):
    """DML+: a network for angles, mean -(1 - p_y)^gamma log p_y of softmax(scale * cos(f, w_c)), and one for
    norms, CE(g . v_c) + a * mean ||g - m_y||_2^2.

    f and g are features of two bodies that share nothing, w_c and v_c unit rows. The factor (1 - p_y)^gamma
    carries no gradient, as in the code read. a is zero until the fraction `start` of training, then a fifth
    of `centre` for a tenth of training, then `centre` (0, 0.001,
    0.005 from epochs 0, 60, 80 of 200 there). The centres m begin random; while a > 0 each step moves them by
      (1 / B) sum (g_i - m_y), half the gradient. Logits are the scaled cosines; ||g|| is the further head
      ``decoupled``; the scorer `decoupled` adds both."""

    acts_once = "start is over"

    def __init__(
        self, *, gamma: NonNegativeFloat = 2.0, scale: PositiveFloat = 40.0, centre: NonNegativeFloat = 0.005,
        start: Annotated[float, Field(ge=0, le=1)] = 0.3,
    ) -> None:  # fmt: skip
        self.gamma, self.scale, self.centre, self.start = gamma, scale, centre, start

    def objection(self, course: Course) -> str:
        return too_late(course, self.start)

    def setup(self, network: Network) -> None:
        features, classes = width("decoupled", network), network.task.classes
        network.body = Bodies(network.body, copy.deepcopy(network.body))
        network.stages = tuple(f"body.cosine.{s.removeprefix('body.')}" for s in network.stages)
        network.head = Angles(features, classes, self.scale)
        network.heads["decoupled"] = Length()
        network.add_module("decoupled_classifier", UnitRows(features, classes))
        network.add_module("decoupled_state", Buffers(centres=torch.randn(classes, features)))

    def weight(self, progress: float) -> float:
        """Weight a of the centre term at a fraction of training."""
        if progress < self.start:
            return 0.0
        return self.centre * (_EARLY if progress < self.start + 0.1 else 1.0)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        features = network.features(batch.inputs)
        ce = cross_entropy(network.head(features), batch.labels, reduction="none")
        # 1 - p_y, of which expm1 keeps what is left where p_y is nearly 1
        angles = ((-torch.expm1(-ce.detach())).pow(self.gamma) * ce).mean()
        second = features[:, features.shape[1] // 2 :]
        norms = cross_entropy(network.get_submodule("decoupled_classifier")(second), batch.labels)
        centres, a = memory(network, "decoupled_state")["centres"], self.weight(batch.progress)
        self.acted = batch.progress >= self.start
        apart = second - centres[batch.labels].to(second.dtype)
        if network.training and a > 0:
            with torch.no_grad():
                centres.index_add_(0, batch.labels, apart.detach().to(centres.dtype) / len(apart))
        return angles + norms + a * apart.square().sum(dim=1).mean()
