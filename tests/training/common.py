"""Samples, networks and recipes of the trainings that tests run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task
from oodbench.data.samples import TensorSamples
from oodbench.training.loop import train
from oodbench.training.reader import Material
from oodbench.training.recipe import Recipe

GEOMETRY = Geometry((1, 8, 8))


TASK = Task("image", (1, 8, 8), 3, (0.5,), (0.25,))


def make_samples(n: int = 53, seed: int = 0, channels: int = 1) -> TensorSamples:
    """Noise with a bright corner that tells the class: learnable in a few steps."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.rand(n, channels, 8, 8, generator=rng) * 0.5
    images[torch.arange(n), :, labels, labels] = 1.0
    return TensorSamples((images * 255).to(torch.uint8), labels)


VAL = make_samples(30, seed=9)


class Plain(Method):
    """Cross-entropy, without the registry."""

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels, reduction="none")


def noisy_network(task: Task = TASK) -> Network:
    """Batch norm (buffers) and dropout (global randomness), so that a resume has everything to restore."""
    body = nn.Sequential(
        nn.Conv2d(task.shape[0], 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.3),
    )  # fmt: skip
    return Network(task, body, nn.Linear(32, task.classes), ["body.2"])


def fresh(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return noisy_network()


def run(
    recipe: Recipe,
    network: Network | None = None,
    method: Method | None = None,
    *,
    data: Samples | None = None,
    val: Samples | None = VAL,
    outliers: Samples | None = None,
    **keywords: Any,
) -> tuple[Network, list[dict[str, float]]]:
    """Train a network, a fresh one if none is given; the network and its history."""
    network = network or fresh()
    material = Material(data or make_samples(), val, GEOMETRY, outliers)
    return network, train(network, method or Plain(), recipe, material, **{"seed": 3, **keywords})


def same(a: Network, b: Network) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return set(left) == set(right) and all(torch.equal(left[k], right[k]) for k in left)


def recipe_of(**changes: Any) -> Recipe:
    return Recipe(**({"epochs": 4, "batch_size": 16, "lr": 0.05} | changes))


def tanh_network() -> Network:
    """Neither batch norm nor dropout: nothing depends on how samples are grouped."""
    torch.manual_seed(0)
    return Network(TASK, nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh()), nn.Linear(6, 3))


def close(a: Network, b: Network, atol: float = 1e-6) -> bool:
    return all(
        torch.allclose(p, q, rtol=0, atol=atol) for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )


class Nosy(Plain):
    """Keeps what it is given."""

    needs = frozenset({"outliers"})
    views = 2

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def loss(self, network: Network, batch: Batch) -> Tensor:
        self.batches.append(batch)
        return super().loss(network, batch)
