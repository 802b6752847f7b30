"""Residual networks: for small images with a 3x3 stem, for large ones as in torchvision."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from oodbench.core.errors import NotApplicable
from oodbench.core.network import Network, Task
from oodbench.core.registry import network


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected by a 1x1 convolution where the shape changes."""

    expansion = 1

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(inside, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride) and 1x1 convolutions, four times as wide at the end, and a
    shortcut."""

    expansion = 4

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = _shortcut(inside, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


def _shortcut(inside: int, outside: int, stride: int) -> nn.Sequential:
    if stride == 1 and inside == outside:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


def _small(task: Task, block: type[BasicBlock] | type[Bottleneck], counts: list[int], width: int) -> Network:
    body = nn.Sequential()
    body.add_module("conv1", nn.Conv2d(task.shape[0], width, 3, 1, 1, bias=False))
    body.add_module("bn1", nn.BatchNorm2d(width))
    body.add_module("relu", nn.ReLU())
    inside = width
    for number, count in enumerate(counts):
        blocks = []
        for i in range(count):
            blocks.append(block(inside, width * 2**number, 2 if number and i == 0 else 1))
            inside = width * 2**number * block.expansion
        body.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
    body.add_module("pool", nn.AdaptiveAvgPool2d(1))
    body.add_module("flatten", nn.Flatten())
    return Network(
        task, body, nn.Linear(inside, task.classes), [f"body.layer{i}" for i in range(1, len(counts) + 1)]
    )


_SMALL = "He et al., CVPR 2016, with the CIFAR stem of OpenOOD v1.5 (openood/networks/resnet18_32x32.py)"


@network("resnet18-32", source=_SMALL)
def resnet18_32(task: Task, *, width: PositiveInt = 64) -> Network:
    """ResNet-18 for small images: a 3x3 stem of stride 1, no pooling; 8 x `width` features."""
    return _small(task, BasicBlock, [2, 2, 2, 2], width)


@network("resnet34-32", source=_SMALL)
def resnet34_32(task: Task, *, width: PositiveInt = 64) -> Network:
    """ResNet-34 for small images: a 3x3 stem of stride 1, no pooling; 8 x `width` features."""
    return _small(task, BasicBlock, [3, 4, 6, 3], width)


@network("resnet50-32", source=_SMALL)
def resnet50_32(task: Task, *, width: PositiveInt = 64) -> Network:
    """ResNet-50 for small images: a 3x3 stem of stride 1, no pooling; bottleneck blocks, 32 x `width`
    features."""
    return _small(task, Bottleneck, [3, 4, 6, 3], width)


def _large(task: Task, name: str) -> Network:
    if min(task.shape[1:]) < 32:
        raise NotApplicable(
            f"network '{name}-224' needs images of at least 32 x 32 pixels, got {task.shape[1]} x"
            f" {task.shape[2]}; use '{name}-32', or a pair with a larger geometry"
        )
    import torchvision

    body: Any = getattr(torchvision.models, name)(weights=None, num_classes=task.classes)
    head, body.fc = body.fc, nn.Identity()
    if task.shape[0] != 3:
        body.conv1 = nn.Conv2d(task.shape[0], 64, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(body.conv1.weight, mode="fan_out", nonlinearity="relu")
    return Network(task, body, head, [f"body.layer{i}" for i in range(1, 5)])


@network("resnet18-224", source="torchvision.models.resnet18")
def resnet18_224(task: Task) -> Network:
    """ResNet-18 for large images: a 7x7 stem of stride 2 and max-pooling; 512 features. torchvision's,
    untrained."""
    return _large(task, "resnet18")


@network("resnet34-224", source="torchvision.models.resnet34")
def resnet34_224(task: Task) -> Network:
    """ResNet-34 for large images: a 7x7 stem of stride 2 and max-pooling; 512 features. torchvision's,
    untrained."""
    return _large(task, "resnet34")


@network("resnet50-224", source="torchvision.models.resnet50")
def resnet50_224(task: Task) -> Network:
    """ResNet-50 for large images: a 7x7 stem of stride 2 and max-pooling; 2048 features. torchvision's,
    untrained."""
    return _large(task, "resnet50")
