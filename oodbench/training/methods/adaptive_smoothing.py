"""Label smoothing whose target or strength adapts: to the class, to the rank of a logit, to the size of the
largest."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import cross_entropy

from oodbench.core.method import Batch, Course, Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.training.methods.shared import Buffers, memory


@method("acls", source="Park et al., ICCV 2023; calibrate/losses/acls.py of cvlab-yonsei/ACLS")
class ACLS(Method):
    """Adaptive and conditional label smoothing: CE + alpha * (pos * relu(z_max - m)^2 + neg * mean_{c not
    max} relu(z_max - z_c - m)^2).

    m is `margin`; z_max carries no gradient in the second term, which thus only raises the other logits.
    """

    acts_once = "the largest logit, or its lead over another, is above margin"

    def __init__(
        self, *, alpha: NonNegativeFloat = 0.1, pos: NonNegativeFloat = 1.0, neg: NonNegativeFloat = 0.1,
        margin: NonNegativeFloat = 10.0,
    ) -> None:  # fmt: skip
        self.alpha, self.pos, self.neg, self.margin = alpha, pos, neg, margin

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        top, where = logits.max(dim=1, keepdim=True)
        over = (top[:, 0] - self.margin).relu().square()
        under = (top.detach() - logits - self.margin).relu().square().scatter(1, where, 0.0)
        self.acted = (over + under.amax(dim=1)).detach().amax() > 0
        penalty = self.pos * over + self.neg * under.sum(dim=1) / (logits.shape[1] - 1)
        return cross_entropy(logits, labels, reduction="none") + self.alpha * penalty


@method(
    "zipf-label-smoothing",
    source=(
        "Liang et al., ECCV 2022 (arXiv 2207.12980); pytorch_zipfls/zipf_utils.py of megvii-research/zipfls"
    ),
)
class ZipfLabelSmoothing(Method):
    """CE + lam * KL(q || r): r is the softmax over the non-target logits, q gives the non-target class of
    rank k a share of 1 / k.

    Ranks are those of the sample's own logits (the repository's instance-wise variant; its dense one ranks by
    votes of local heads). q has no gradient. lam is 0.1 for CIFAR-100 and 1 for TinyImageNet there."""

    def __init__(self, *, lam: NonNegativeFloat = 0.1) -> None:
        self.lam = lam

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, labels.unsqueeze(1), False)
        rest = logits[others].view(len(logits), -1)
        share = 1 / torch.arange(1, rest.shape[1] + 1, device=rest.device, dtype=rest.dtype)
        share = share / share.sum()
        ranked = torch.log_softmax(rest, dim=1).gather(
            1, rest.detach().argsort(dim=1, descending=True, stable=True)
        )
        divergence = (share * (share.log() - ranked)).sum(dim=1)
        return cross_entropy(logits, labels, reduction="none") + self.lam * divergence


@method(
    "online-label-smoothing",
    source=(
        "Zhang et al., TIP 2021 (arXiv 2011.12562), by way of a port that names"
        " zhangchbin/OnlineLabelSmoothing"
    ),
)
class OnlineLabelSmoothing(Method):
    """alpha * CE + (1 - alpha) * H(S_y, p): S_y is the mean softmax of the correctly classified samples of
    class y in the last period.

    S starts uniform; a class with no correct sample keeps its row. A period is 1 / `updates` of training: set
    it to the recipe's epochs for the paper's once per epoch."""

    acts_once = "a period is over in which some sample was classified correctly (updates)"

    def __init__(
        self, *, alpha: Annotated[float, Field(ge=0, le=1)] = 0.5, updates: PositiveInt = 20
    ) -> None:
        self.alpha, self.updates = alpha, updates

    def objection(self, course: Course) -> str:
        if int(course.last * self.updates):
            return ""
        return f"updates is {self.updates}, and no period is over before the last batch; set it higher"

    def setup(self, network: Network) -> None:
        c = network.task.classes
        state = Buffers(
            targets=torch.full((c, c), 1 / c), sums=torch.zeros(c, c), counts=torch.zeros(c, 1),
            period=torch.zeros((), dtype=torch.int64),
        )  # fmt: skip
        network.add_module("online_label_smoothing", state)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        state = memory(network, "online_label_smoothing")
        self._turn(state, int(batch.progress * self.updates))
        # until the first turn that finds a correct sample, the targets are those of label smoothing
        self.acted = state["targets"].amin() < state["targets"].amax()
        logits = network(batch.inputs)
        soft = -(state["targets"][batch.labels].to(logits.dtype) * torch.log_softmax(logits, dim=1)).sum(
            dim=1
        )
        hard = cross_entropy(logits, batch.labels, reduction="none")
        if network.training:
            with torch.no_grad():
                right = (logits.argmax(dim=1) == batch.labels).to(state["sums"].dtype).unsqueeze(1)
                state["sums"].index_add_(
                    0, batch.labels, torch.softmax(logits, dim=1).to(right.dtype) * right
                )
                state["counts"].index_add_(0, batch.labels, right)
        return (self.alpha * hard + (1 - self.alpha) * soft).mean()

    @staticmethod
    def _turn(state: Buffers, period: int) -> None:
        """When a new period has begun, what was gathered becomes the target; without waiting for an
        accelerator."""
        begun = state["period"] != period
        ready = begun & (state["counts"] > 0)
        state["targets"].copy_(
            torch.where(ready, state["sums"] / state["counts"].clamp(min=1), state["targets"])
        )
        for name in ("sums", "counts"):
            state[name].mul_((~begun).float())
        state["period"].fill_(period)
