"""Methods that train a further head beside the classifier, or another classifier, for the score that reads
it."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid

from oodbench.core.errors import NotApplicable
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.training.methods.shared import CROSS_ENTROPY, Buffers, memory, require_criterion, width


@method(
    "rotation",
    source="Hendrycks et al., NeurIPS 2019, by way of OpenOOD v1.5 rotpred_trainer.py and rot_net.py",
)
class Rotation(Method):
    """Rotation prediction: L(x, y) + cross-entropy of which of four quarter turns an image was given, mean
    over all four turns of all images.

    One forward pass of four times the batch. The further head ``rotation`` (4 logits) is read by the scorer
    `rotation`."""

    def __init__(self, *, of: Method = CROSS_ENTROPY) -> None:
        self.of = of

    def setup(self, network: Network) -> None:
        height, breadth = network.task.shape[-2:]
        if height != breadth:
            raise NotApplicable(f"method 'rotation' needs square images, got {height} x {breadth}")
        network.heads["rotation"] = nn.Linear(width("rotation", network), 4)
        require_criterion("rotation", self.of)
        self.of.setup(network)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        count = len(batch.inputs)
        features = network.features(torch.cat([batch.inputs.rot90(turns, (2, 3)) for turns in range(4)]))
        turned = torch.arange(4, device=features.device).repeat_interleave(count)
        known = self.of.criterion(network.head(features[:count]), batch.labels).mean()
        return known + cross_entropy(network.heads["rotation"](features), turned)


@method(
    "confidence-branch",
    source="DeVries and Taylor, arXiv 1802.04865, by way of OpenOOD v1.5 conf_branch_trainer.py",
)
class ConfidenceBranch(Method):
    """Learnt confidence c = sigmoid(a): -log(c p_y + 1 - c) - lam * log c, means over the batch; half of the
    samples get no hint (c = 1 in the first term).

    lam is adapted to a budget: after each step over 1.01 while the mean of -log c is below it, else over
    0.99. The further head ``confidence`` (a) is read by the scorer `confidence`. Terms are computed as
    logarithms, so that nothing is clipped."""

    def __init__(self, *, lam: PositiveFloat = 0.1, budget: NonNegativeFloat = 0.3) -> None:
        self.lam, self.budget = lam, budget

    def setup(self, network: Network) -> None:
        network.heads["confidence"] = nn.Linear(width("confidence-branch", network), 1)
        network.add_module("confidence_branch", Buffers(lam=torch.tensor(self.lam)))

    def loss(self, network: Network, batch: Batch) -> Tensor:
        features = network.features(batch.inputs)
        log_p = -cross_entropy(network.head(features), batch.labels, reduction="none")
        a = network.heads["confidence"](features)[:, 0]
        hint = torch.rand(len(a), generator=batch.rng, device=a.device) < 0.5
        # log(c p + 1 - c)
        hinted = torch.logaddexp(logsigmoid(a) + log_p, logsigmoid(-a))
        unsure = -logsigmoid(a).mean()
        lam = memory(network, "confidence_branch")["lam"]
        loss = -torch.where(hint, hinted, log_p).mean() + lam.clone() * unsure
        if network.training:
            with torch.no_grad():
                lam.div_(torch.where(unsure < self.budget, 1.01, 0.99))
        return loss


class ReciprocalPoints(nn.Module):
    """Distance from each class's reciprocal point: ||f - p_c||^2 / D - f . p_c, logits (B, C); and a radius
    that bounds it."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.points = nn.Parameter(0.1 * torch.randn(classes, features))
        self.radius = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        dots = features @ self.points.T
        squares = features.square().sum(dim=1, keepdim=True) - 2 * dots + self.points.square().sum(dim=1)
        return squares / features.shape[1] - dots


@method("arpl", source="Chen et al., TPAMI 2021; loss/ARPLoss.py of iCGY96/ARPL; OpenOOD v1.5 arpl_layer.py")
class ARPL(Method):
    """Adversarial reciprocal point learning (without its generator): cross-entropy of z / temperature +
    weight * mean relu(d_y - R + margin).

    z_c = ||f - p_c||^2 / D - f . p_c is the network's logit; d_y is the mean squared difference of f to the
    point of its own class, R a learnt radius. The authors score by the maximum logit, the scorer `mls`. The
    head is replaced, so scorers that need a linear one do not apply."""

    def __init__(
        self,
        *,
        weight: NonNegativeFloat = 0.1,
        temperature: PositiveFloat = 1.0,
        margin: NonNegativeFloat = 1.0,
    ) -> None:
        self.weight, self.temperature, self.margin = weight, temperature, margin

    def setup(self, network: Network) -> None:
        network.head = ReciprocalPoints(width("arpl", network), network.task.classes)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        head = network.head
        assert isinstance(head, ReciprocalPoints)
        features = network.features(batch.inputs)
        known = cross_entropy(head(features) / self.temperature, batch.labels)
        distance = (features - head.points[batch.labels]).square().mean(dim=1)
        return known + self.weight * (distance - head.radius + self.margin).relu().mean()
