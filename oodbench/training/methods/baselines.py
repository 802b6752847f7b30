"""Methods that change the target or the logits of the classification loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from oodbench.core.method import Method
from oodbench.core.registry import method


@method("cross-entropy", source="torch.nn.functional.cross_entropy")
class CrossEntropy(Method):
    """Plain cross-entropy, -log p_y: the baseline of everything."""

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, reduction="none")


@method("label-smoothing", source="Szegedy et al., CVPR 2016; torch.nn.functional.cross_entropy")
class LabelSmoothing(Method):
    """Cross-entropy against (1 - epsilon) * one-hot + epsilon / C: the target of the true class is fixed at 1
    - epsilon + epsilon / C."""

    def __init__(self, *, epsilon: Annotated[float, Field(ge=0, lt=1)] = 0.1) -> None:
        self.epsilon = epsilon

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, reduction="none", label_smoothing=self.epsilon)
