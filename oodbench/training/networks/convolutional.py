"""Plain, wide and dense convolutional networks of the literature."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from oodbench.core.errors import NotApplicable, SpecError
from oodbench.core.network import Network, Task
from oodbench.core.registry import network

Share = Annotated[float, Field(ge=0, lt=1)]


@network("lenet", source="LeCun et al., 1998, as OpenOOD v1.5 trains it (openood/networks/lenet.py)")
def lenet(task: Task) -> Network:
    """LeNet-5 with ReLU and max-pooling: 5x5 convolutions of 6, 16 and 120 channels, then 84 features. At
    least 28 x 28 pixels."""
    height, width = ((((s // 2) - 4) // 2) - 4 for s in task.shape[1:])
    if min(height, width) < 1:
        raise NotApplicable(
            f"network 'lenet' needs images of at least 28 x 28 pixels, got {task.shape[1]} x {task.shape[2]};"
            " use 'small-cnn'"
        )
    body = nn.Sequential(
        nn.Sequential(nn.Conv2d(task.shape[0], 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(16, 120, 5), nn.ReLU()),
        nn.Flatten(), nn.Linear(120 * height * width, 84), nn.ReLU(),
    )  # fmt: skip
    return Network(task, body, nn.Linear(84, task.classes), [f"body.{i}" for i in range(3)])


@network(
    "vgg32",
    source=(
        "sgvaze/osr_closed_set_all_you_need, models/classifier32.py (Neal et al., ECCV 2018; Vaze et al.,"
        " ICLR 2022)"
    ),
)
def vgg32(task: Task, *, features: PositiveInt = 128, dropout: Share = 0.2) -> Network:
    """VGG32, the open-set literature's network: nine 3x3 convolutions in three blocks, the last of each with
    stride 2.

    Each is followed by batch norm and LeakyReLU(0.2), each block preceded by channel dropout; average
    pooling; a head without bias."""
    body = nn.Sequential()
    inside = task.shape[0]
    for number, widths in enumerate([(64, 64, 128), (128, 128, 128), (128, 128, features)], start=1):
        layers: list[nn.Module] = [nn.Dropout2d(dropout)]
        for width, stride in zip(widths, (1, 1, 2), strict=True):
            layers += [
                nn.Conv2d(inside, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2),
            ]
            inside = width
        body.add_module(f"block{number}", nn.Sequential(*layers))
    body.add_module("pool", nn.AdaptiveAvgPool2d(1))
    body.add_module("flatten", nn.Flatten())
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.05)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return Network(
        task, body, nn.Linear(features, task.classes, bias=False), [f"body.block{i}" for i in (1, 2, 3)]
    )


class WideBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, dropout between; where the width changes, the
    shortcut is a 1x1 convolution of the activated input."""

    def __init__(self, inside: int, outside: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inside, outside, 1, stride, bias=False) if inside != outside else None

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.bn1(x))
        out = self.conv2(self.dropout(torch.relu(self.bn2(self.conv1(active)))))
        return out + (x if self.shortcut is None else self.shortcut(active))


@network(
    "wide-resnet",
    source="Zagoruyko and Komodakis, BMVC 2016, by way of xternalz/WideResNet-pytorch (wideresnet.py)",
)
def wide_resnet(
    task: Task, *, depth: PositiveInt = 40, width: PositiveInt = 2, dropout: Share = 0.0
) -> Network:
    """Wide residual network for small images, WRN-`depth`-`width` (40-2, 28-10); 64 x `width` features."""
    count, rest = divmod(depth - 4, 6)
    if rest or count < 1:
        raise SpecError([("wide-resnet.depth", f"should be 6 n + 4 (10, 16, 22, 28, 40), got {depth}")])
    body = nn.Sequential(OrderedDict(conv1=nn.Conv2d(task.shape[0], 16, 3, 1, 1, bias=False)))
    inside = 16
    for number, (outside, stride) in enumerate([(16, 1), (32, 2), (64, 2)], start=1):
        blocks = []
        for i in range(count):
            blocks.append(WideBlock(inside, outside * width, stride if i == 0 else 1, dropout))
            inside = outside * width
        body.add_module(f"block{number}", nn.Sequential(*blocks))
    return _finished(task, body, inside)


class DenseLayer(nn.Module):
    """A 1x1 convolution to 4 x `growth` channels and a 3x3 one to `growth`, batch norm and ReLU before each;
    the input stays beside it."""

    def __init__(self, inside: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out = self.dropout(self.conv1(torch.relu(self.bn1(x))))
        return torch.cat([x, self.dropout(self.conv2(torch.relu(self.bn2(out))))], dim=1)


@network(
    "densenet-bc", source="Huang et al., CVPR 2017, by way of OpenOOD v1.5 (openood/networks/densenet.py)"
)
def densenet_bc(
    task: Task, *, depth: PositiveInt = 100, growth: PositiveInt = 12, dropout: Share = 0.0
) -> Network:
    """DenseNet-BC for small images, `depth` layers of `growth` channels (100, 12): bottlenecks, channels
    halved at each transition."""
    count, rest = divmod(depth - 4, 6)
    if rest or count < 1:
        raise SpecError([("densenet-bc.depth", f"should be 6 n + 4 (40, 100, 190), got {depth}")])
    if min(task.shape[1:]) < 4:
        raise NotApplicable(
            f"network 'densenet-bc' needs images of at least 4 x 4 pixels, got {task.shape[1]} x"
            f" {task.shape[2]}"
        )
    inside = 2 * growth
    body = nn.Sequential(OrderedDict(conv1=nn.Conv2d(task.shape[0], inside, 3, 1, 1, bias=False)))
    for number in (1, 2, 3):
        body.add_module(
            f"block{number}",
            nn.Sequential(*(DenseLayer(inside + i * growth, growth, dropout) for i in range(count))),
        )
        inside += count * growth
        if number < 3:
            half = inside // 2
            transition = [
                nn.BatchNorm2d(inside),
                nn.ReLU(),
                nn.Conv2d(inside, half, 1, bias=False),
                nn.Dropout(dropout),
                nn.AvgPool2d(2),
            ]
            body.add_module(f"transition{number}", nn.Sequential(*transition))
            inside = half
    return _finished(task, body, inside)


def _finished(task: Task, body: nn.Sequential, width: int) -> Network:
    """The last batch norm, ReLU and pooling; He initialisation by fan-out; three blocks as stages."""
    body.add_module("bn", nn.BatchNorm2d(width))
    body.add_module("relu", nn.ReLU())
    body.add_module("pool", nn.AdaptiveAvgPool2d(1))
    body.add_module("flatten", nn.Flatten())
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out))
    head = nn.Linear(width, task.classes)
    nn.init.zeros_(head.bias)
    return Network(task, body, head, [f"body.block{i}" for i in (1, 2, 3)])
