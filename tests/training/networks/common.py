"""Tasks and networks that tests of several modules build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.network import Network, Task
from tests.training.networks.huggingface_models import small_vit

SMALL: dict[str, dict[str, Any]] = {
    "resnet18-32": {"width": 8}, "resnet34-32": {"width": 8}, "resnet50-32": {"width": 8},
    "wide-resnet": {"depth": 10},
    "densenet-bc": {"depth": 10}, "vit-small-32": {"depth": 2, "dim": 48},
    "torchvision": {"model": "resnet18"},
    "timm": {"model": "resnet18", "options": {"zero_init_last": False}},
    "module": {"target": "tests.training.networks.common:Nested"},
    "clip": {"model": str(Path(__file__).with_name("clip.json")), "classes": ["ant", "bee", "cat", "dog"]},
}  # fmt: skip
"""Parameters that keep the contract's networks small, or that have no default."""


def task_of(shape: tuple[int, int, int], classes: int = 4) -> Task:
    return Task("image", shape, classes, (0.4,) * shape[0], (0.3,) * shape[0])


def make(name: str, shape: tuple[int, int, int], classes: int = 4, **params: Any) -> Network:
    if name in ("timm", "clip"):
        pytest.importorskip({"clip": "open_clip"}.get(name, name))
    if name == "huggingface" and not params:
        params = {"model": str(small_vit())}
    torch.manual_seed(0)
    return registry.build("network", {name: params or SMALL.get(name, {})}, task_of(shape, classes))


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


class Nested(nn.Module):
    """A head deep inside, and a linear layer before it that is not the head."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
        self.trunk = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.ReLU())
        self.tail = nn.ModuleDict({"mix": nn.Linear(6, 5), "out": nn.Linear(5, classes)})

    def forward(self, x: Tensor) -> Tensor:
        return self.tail["out"](torch.relu(self.tail["mix"](self.trunk(self.stem(x)).mean((2, 3)))))
