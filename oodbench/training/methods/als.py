"""Adaptive label smoothing (arXiv 2410.06134), the method at the heart of this suite."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn.functional import cross_entropy

from oodbench.core.errors import NotApplicable
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.registry import method


@method(
    "als",
    source=(
        "Xu et al., arXiv 2410.06134: abstract and third-party summaries of the loss; public code of"
        " unconfirmed authorship (class Softmax with `only_corr`, `loss_nmpc`). The paper's experiments could"
        " not be read"
    ),
)
class ALS(Method):
    """Adaptive label smoothing: CE + lam * std of the non-maximal probabilities, mean over the batch.

    L_i = -log p_y + lam * std_{j != k}(p_j), gradients through everything. It asks the other classes to be
    equally probable and leaves the maximal probability free, where label smoothing fixes it. Known: the form
    of the loss. Not known: the paper's lambda, whether its main results use `only_correct`, its data sets,
    networks and recipes; this is a reimplementation.

    `k`: the class left out is the predicted one (argmax; paper's summaries and the code found) or the true
    one (label; the abstract's "non-true classes"). `std`: unbiased divides by C - 2 (torch.std, the code
    found), biased by C - 1 (the formula as printed). `only_correct`: the term counts as zero for
    misclassified samples. At C = 2 one probability is left, with nothing to equalise: refused. The term
    shrinks about as 1 / C, so `lam` must be searched for each number of classes; no default is known."""

    def __init__(
        self, *, lam: NonNegativeFloat = 1.0, k: Literal["argmax", "label"] = "argmax",
        std: Literal["unbiased", "biased"] = "unbiased", only_correct: bool = False,
    ) -> None:  # fmt: skip
        self.lam, self.k, self.std, self.only_correct = lam, k, std, only_correct

    def setup(self, network: Network) -> None:
        if network.task.classes < 3:
            raise NotApplicable(
                "method 'als' needs at least 3 classes (2 leave one non-maximal probability), got"
                f" {network.task.classes}"
            )

    def spread(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Standard deviation of the non-maximal probabilities, (B,)."""
        left_out = logits.argmax(dim=1) if self.k == "argmax" else labels
        keep = torch.ones_like(logits, dtype=torch.bool).scatter_(1, left_out.unsqueeze(1), False)
        # torch.std has gradient zero at zero variance, where a root of a mean of squares has none; but it
        # divides by the deviation, which overflows where all of the rest have nearly underflowed: there, far
        # below what float32 can tell from 1, they count as equal.
        rest = torch.softmax(logits, dim=1)[keep].view(len(logits), -1).clamp(min=1e-20)
        spread = rest.std(dim=1, correction=1 if self.std == "unbiased" else 0)
        return spread * (logits.argmax(dim=1) == labels) if self.only_correct else spread

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, reduction="none") + self.lam * self.spread(logits, labels)
