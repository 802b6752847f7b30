"""Networks, batches and plain-Python arithmetic that tests of several methods share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task
from oodbench.training.initialise import fresh_weights

CLASSES = 4


TASK = Task("image", (1, 8, 8), CLASSES, (0.3,), (0.3,))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(count: int = 12, **more: Any) -> Batch:
    x = torch.rand(count, 1, 8, 8, generator=rng(3), dtype=torch.float64)
    return Batch(x, torch.arange(count) % CLASSES, rng=rng(5), **more)


def made(spec: Any, seed: int = 0) -> tuple[Network, Any]:
    """A network in float64 and its method."""
    method: Method = registry.build("method", spec)
    return fresh_weights("small-cnn", method, TASK, seed).double(), method


def rows(value: Tensor) -> list[list[float]]:
    return value.detach().tolist()


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def norm(a: list[float]) -> float:
    return math.sqrt(dot(a, a))


def ce(z: list[float], y: int) -> float:
    top = max(z)
    return math.log(sum(math.exp(v - top) for v in z)) + top - z[y]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def gradcheck(network: Network, loss: Any, step: float = 1e-6) -> None:
    """Directional finite difference of a scalar loss over all parameters that learn."""
    learning = [p for p in network.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss(), learning)
    generator = rng(9)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in learning]
    slope = sum(float((g * d).sum()) for g, d in zip(grads, direction, strict=True))
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(learning, direction, strict=True):
                p.add_(sign * step * d)
            values.append(float(loss().detach()))
            for p, d in zip(learning, direction, strict=True):
                p.sub_(sign * step * d)
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-7)


def viewed(count: int = 12, **more: Any) -> Batch:
    batch = data(count, **more)
    return batch._replace(views=(batch.inputs.flip(-1) + 0.1,))


def unit(v: list[float]) -> list[float]:
    return [x / norm(v) for x in v]


def value(loss: Tensor) -> float:
    return float(loss.detach())


def filled(spec: Any, batch: Batch) -> tuple[Network, Any]:
    network, method = made(spec)
    network.body.eval()
    network.training = True
    for seed in range(6):
        noisy = batch.inputs + 0.05 * torch.randn(
            batch.inputs.shape, generator=rng(seed), dtype=torch.float64
        )
        views = tuple(v.flip(-2) + 0.01 * seed for v in batch.views)
        method.loss(network, batch._replace(inputs=noisy, views=views, progress=0.0))
    return network.eval(), method


def softmax(z: list[float]) -> list[float]:
    top = max(z)
    e = [math.exp(v - top) for v in z]
    return [v / sum(e) for v in e]


class Watched(Network):
    """Remembers its inputs; logits are a fixed linear map of the pixels."""

    def __init__(self) -> None:
        super().__init__(TASK, torch.nn.Flatten(), torch.nn.Linear(64, 4))
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x.detach())
        return super().forward(x)


def watched() -> Watched:
    """A network of 8x8 pixels that remembers what it was given."""
    torch.manual_seed(0)
    return Watched()


Loop = Callable[[list[float], int], float]


def names(value: Any) -> str | None:
    return registry.resolve("method", value).label if isinstance(value, (str, dict)) else None


def pictures(count: int = 16) -> Batch:
    """A batch in float32, for a watched network."""
    x = torch.rand(count, 1, 8, 8, generator=rng(3))
    return Batch(x, torch.arange(count) % CLASSES, progress=0.25, rng=rng(5))


# ---------------------------------------------------------------- criteria of logits and labels


def assert_criterion(spec: Any, loop: Loop, classes: int) -> None:
    """A method's criterion is what the loop gives for each sample."""
    method: Method = registry.build("method", spec)
    logits = 3 * torch.randn(40, classes, dtype=torch.float64, generator=rng(1))
    labels = torch.arange(40) % classes
    expected = [loop(z, y) for z, y in zip(logits.tolist(), labels.tolist(), strict=True)]
    torch.testing.assert_close(
        method.criterion(logits, labels), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12
    )


def assert_gradient(spec: Any) -> None:
    """A criterion's gradient is its finite difference."""
    method: Method = registry.build("method", spec)
    logits = 2 * torch.randn(6, 5, dtype=torch.float64, generator=rng(2))
    labels = torch.arange(6) % 5
    assert torch.autograd.gradcheck(lambda z: method.criterion(z, labels), (logits.requires_grad_(),))


EXTREMES = {
    "wide": [1e4, -1e4, 0.0, 3.0], "equal": [0.0, 0.0, 0.0, 0.0], "sure": [50.0, 0.0, 0.0, 0.0],
    "sure and wrong": [-1e4, 1e4, -1e4, -1e4],
}  # fmt: skip


def assert_finite(spec: Any, logits: list[float]) -> None:
    """A criterion and its gradient stay finite for one sample of class 0."""
    z = torch.tensor([logits], requires_grad=True)
    value = registry.build("method", spec).criterion(z, torch.tensor([0]))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def set_up(method: Method, classes: int = CLASSES) -> Network:
    """A small network that the method has set up."""
    return fresh_weights("small-cnn", method, TASK._replace(classes=classes), 0)
