"""Methods that make outliers up in feature space, from Gaussians of what the network has seen of each
class."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from oodbench.core.method import Batch, Course, Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.training.methods.shared import Queues, too_few, too_late, width


class WeightedEnergy(nn.Module):
    """VOS's energy with a learnt weight for each class, and its logistic regression."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(classes))
        self.logistic = nn.Linear(1, 2)

    def energy(self, logits: Tensor) -> Tensor:
        """-log sum_c relu(w_c) exp(z_c), (N,)."""
        return -torch.logsumexp(logits + self.weight.relu().clamp(min=1e-12).log(), dim=1)

    def forward(self, known: Tensor, virtual: Tensor) -> Tensor:
        """Cross-entropy of telling logits of known samples (1) from those of virtual outliers (0) by their
        energies."""
        energies = torch.cat([self.energy(known), self.energy(virtual)]).unsqueeze(1)
        truth = torch.cat([known.new_ones(len(known)), known.new_zeros(len(virtual))]).long()
        return cross_entropy(self.logistic(energies), truth)


@method(
    "vos",
    source=(
        "Du et al., ICLR 2022; pytorch-ood 0.4 loss/vos.py, which follows train_virtual.py of"
        " deeplearning-wisc/vos"
    ),
)
class VOS(Method):
    """Virtual outlier synthesis: CE + alpha * cross-entropy of known against virtual by a logistic regression
    of the weighted energy.

    Virtual outliers are, of `draws` samples of each class's Gaussian (queue means, one covariance + 1e-4 I),
    the `select` least likely. They come in when every queue of `size` features is full and the fraction
    `start` of training is over. The gradient reaches the network through the known samples' logits and the
    head (OpenOOD's passes none)."""

    acts_once = "the queues of all classes are full (size) and start is over"

    def __init__(
        self, *, alpha: NonNegativeFloat = 0.1, size: PositiveInt = 1000, draws: PositiveInt = 10_000,
        select: PositiveInt = 1, start: Annotated[float, Field(ge=0, le=1)] = 0.0,
    ) -> None:  # fmt: skip
        self.alpha, self.size, self.draws, self.select, self.start = (
            alpha,
            size,
            draws,
            min(select, draws),
            start,
        )

    def objection(self, course: Course) -> str:
        return too_few(course, self.size) or too_late(course, self.start)

    def setup(self, network: Network) -> None:
        classes = network.task.classes
        network.add_module("vos_queues", Queues(classes, self.size, width("vos", network)))
        network.add_module("vos_energy", WeightedEnergy(classes))

    def outliers(self, known: Tensor, rng: torch.Generator | None) -> Tensor:
        """The least likely draws (C * select, D) from a Gaussian of each class, given features (C, N, D)."""
        means = known.mean(dim=1)
        centred = (known - means.unsqueeze(1)).flatten(0, 1).double()
        ridge = 1e-4 * torch.eye(centred.shape[1], dtype=centred.dtype, device=centred.device)
        spread = torch.linalg.cholesky(centred.T @ centred / len(centred) + ridge).to(known.dtype)
        found = []
        for mean in means:
            noise = torch.randn(
                self.draws, known.shape[2], generator=rng, device=known.device, dtype=known.dtype
            )
            # one covariance: the density falls with the norm of the noise
            farthest = noise.square().sum(dim=1).topk(self.select).indices
            found.append(mean + noise[farthest] @ spread.T)
        return torch.cat(found)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        queues, energy = network.get_submodule("vos_queues"), network.get_submodule("vos_energy")
        assert isinstance(queues, Queues)
        features = network.features(batch.inputs)
        logits = network.head(features)
        self.acted = ready = batch.progress >= self.start and queues.full
        virtual = self.outliers(queues.features, batch.rng) if ready else features[:0].detach()
        if network.training:
            queues.push(features, batch.labels)
        # before there are outliers the term weighs nothing, but its parameters have a gradient
        return cross_entropy(logits, batch.labels) + (self.alpha if ready else 0.0) * energy(
            logits, network.head(virtual)
        )
