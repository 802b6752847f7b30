"""Methods that ask for the same answer to augmented versions of an image."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import log_softmax

from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.core.registry import build, method
from oodbench.training.methods.shared import CROSS_ENTROPY, require_criterion


def divergence(*logits: Tensor) -> Tensor:
    """Jensen-Shannon divergence of the softmax of several logits (B, C), (B,), in nats: mean_i KL(p_i ||
    mean_j p_j)."""
    log_p = torch.stack([log_softmax(z, dim=1) for z in logits])
    log_mean = torch.logsumexp(log_p, dim=0) - math.log(len(logits))
    return (log_p.exp() * (log_p - log_mean)).sum(dim=2).mean(dim=0)


@method("augmix", source="Hendrycks et al., ICLR 2020; cifar.py of google-research/augmix")
class AugMix(Method):
    """AugMix with its consistency loss: L(x, y) + weight * JSD(p(x), p(x1), p(x2)); x1, x2 are two AugMix
    versions of x, in one forward pass.

    L is the criterion `of`. The other parameters are the augmentation's of the same name; OpenOOD's CIFAR
    scripts use that alone, without JSD."""

    def __init__(
        self, *, weight: NonNegativeFloat = 12.0, severity: Annotated[float, Field(gt=0.1, le=10)] = 3.0,
        chains: PositiveInt = 3, all_operations: bool = False, of: Method = CROSS_ENTROPY,
    ) -> None:  # fmt: skip
        self.weight, self.of = weight, of
        parameters = {"severity": severity, "chains": chains, "all_operations": all_operations}
        self.augment = build("augmentation", {"augmix": parameters})

    def setup(self, network: Network) -> None:
        require_criterion("augmix", self.of)
        self.of.setup(network)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        x = batch.inputs
        rng = batch.rng if batch.rng is not None else torch.Generator(x.device)
        versions = [x, self.augment(x, rng), self.augment(x, rng)]
        logits = network(torch.cat(versions)).chunk(3)
        return self.of.criterion(logits[0], batch.labels).mean() + self.weight * divergence(*logits).mean()
