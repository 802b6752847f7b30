"""Networks that train on a CPU in seconds."""

from __future__ import annotations

import math

from pydantic import PositiveInt
from torch import nn

from oodbench.core.network import Network, Task
from oodbench.core.registry import network


@network("mlp", source="oodbench's own")
def mlp(task: Task, *, hidden: list[PositiveInt] = [128, 64]) -> Network:  # noqa: B006 - a signature is a schema
    """Multi-layer perceptron with ReLU; the last hidden layer gives the features. `hidden` lists the
    widths."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(task.shape)
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return Network(
        task,
        nn.Sequential(*layers),
        nn.Linear(width, task.classes),
        [f"body.{i}" for i in range(2, len(layers), 2)],
    )


@network("small-cnn", source="oodbench's own")
def small_cnn(task: Task, *, width: PositiveInt = 32) -> Network:
    """Three 3x3 convolution blocks (batch norm, ReLU; `width`, 2 and 4 times it) with average pooling
    between, for any input size."""

    def block(inside: int, outside: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()
        )

    body = nn.Sequential(
        block(task.shape[0], width), nn.AvgPool2d(2, ceil_mode=True), block(width, 2 * width),
        nn.AvgPool2d(2, ceil_mode=True),
        block(2 * width, 4 * width), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    return Network(task, body, nn.Linear(4 * width, task.classes), ["body.0", "body.2", "body.4"])
