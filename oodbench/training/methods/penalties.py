"""Cross-entropy plus a penalty on logits or probabilities, or cross-entropy re-weighted by them."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn.functional import cross_entropy

from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.core.registry import method


@method(
    "maxsup",
    source=(
        "Zhou et al., arXiv 2502.15798 (abstract); ZhouYuxuanYX/Maximum-Suppression-Regularization (loss and"
        " its schedule)"
    ),
)
class MaxSup(Method):
    """Max suppression: CE + a * (max_c z_c - mean_c z_c), the part of label smoothing that also acts on
    correct samples, on the top logit.

    a grows linearly from `alpha` to `alpha_end` over training, as in the authors' code; `criterion`, which
    knows no progress, uses `alpha`."""

    def __init__(self, *, alpha: NonNegativeFloat = 0.1, alpha_end: NonNegativeFloat = 0.2) -> None:
        self.alpha, self.alpha_end = alpha, alpha_end

    def criterion(self, logits: Tensor, labels: Tensor, progress: float = 0.0) -> Tensor:
        alpha = self.alpha + (self.alpha_end - self.alpha) * progress
        return cross_entropy(logits, labels, reduction="none") + alpha * (
            logits.amax(dim=1) - logits.mean(dim=1)
        )

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return self.criterion(network(batch.inputs), batch.labels, batch.progress).mean()


@method("mbls", source="Liu et al., CVPR 2022; calibrate/losses/logit_margin_l1.py of by-liu/MbLS")
class MbLS(Method):
    """Margin-based label smoothing: CE + alpha * mean_c relu(max_k z_k - z_c - margin); gaps below the margin
    are free."""

    acts_once = "the largest logit leads another by more than margin"

    def __init__(self, *, alpha: NonNegativeFloat = 0.1, margin: NonNegativeFloat = 10.0) -> None:
        self.alpha, self.margin = alpha, margin

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        gaps = logits.amax(dim=1, keepdim=True) - logits
        self.acted = gaps.detach().amax() > self.margin
        return cross_entropy(logits, labels, reduction="none") + self.alpha * (
            gaps - self.margin
        ).relu().mean(dim=1)


@method(
    "confidence-penalty",
    source="Pereyra et al., arXiv 1701.06548, by way of calibrate/losses/penalty_entropy.py of by-liu/MbLS",
)
class ConfidencePenalty(Method):
    """CE - beta * H(p), H(p) = -sum_c p_c log p_c in nats. The code read averages over classes: a beta C
    times weaker."""

    def __init__(self, *, beta: NonNegativeFloat = 0.1) -> None:
        self.beta = beta

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_p = torch.log_softmax(logits, dim=1)
        return cross_entropy(logits, labels, reduction="none") + self.beta * (log_p.exp() * log_p).sum(dim=1)


@method("focal", source="Lin et al., ICCV 2017, by way of calibrate/losses/focal_loss.py of by-liu/MbLS")
class Focal(Method):
    """Focal loss: -(1 - p_y)^gamma log p_y; gamma = 0 is cross-entropy. gamma = 2 is the common choice."""

    def __init__(self, *, gamma: NonNegativeFloat = 2.0) -> None:
        self.gamma = gamma

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        # log(1 - p_y) from the other logits: a power of a rounded 1 - p_y has no finite gradient at 0 for
        # gamma below 1
        others = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
        log_rest = torch.logsumexp(others, dim=1) - torch.logsumexp(logits, dim=1)
        return (self.gamma * log_rest).exp() * cross_entropy(logits, labels, reduction="none")


@method("poly-1", source="Leng et al., ICLR 2022, by way of polyloss.py of abhuse/polyloss-pytorch")
class Poly1(Method):
    """CE + epsilon * (1 - p_y): the first coefficient of cross-entropy's series in 1 - p_y, raised. The paper
    tunes epsilon."""

    def __init__(self, *, epsilon: float = 1.0) -> None:
        self.epsilon = epsilon

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        ce = cross_entropy(logits, labels, reduction="none")
        return ce - self.epsilon * torch.expm1(-ce)
