"""The network and what it must fit: task, classification head, the module itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Task(NamedTuple):
    """What a network must fit. Injected by the runner; mean and std are those of the ID training images in
    [0, 1], per channel."""

    kind: str
    shape: tuple[int, ...]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Head(NamedTuple):
    """A linear classification head: weight (C, D), bias (C,); logits = features @ weight.T + bias."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return torch.nn.functional.linear(features, self.weight, self.bias)


class Network(nn.Module):
    """logits = head(features(x)). Normalisation with the ID statistics lives inside, so that OOD inputs meet
    it too.

    `body` maps normalised inputs (B, C, H, W) to penultimate features (B, D); `head` maps those to exactly
    the known classes. `heads` are further functions of the features (rotation, confidence, projection) that
    methods attach and extraction stores by name. `stages` names submodules, shallow to deep, whose outputs a
    view may read or replace by hook."""

    mean: Tensor
    std: Tensor

    def __init__(self, task: Task, body: nn.Module, head: nn.Module, stages: Sequence[str] = ()) -> None:
        super().__init__()
        shape = (len(task.mean),) + (1,) * (len(task.shape) - 1)
        self.task = task
        self.body = body
        self.head = head
        self.heads = nn.ModuleDict()
        self.stages = tuple(stages)
        self.register_buffer("mean", torch.tensor(task.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(task.std).view(shape), persistent=False)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features (B, D) of inputs in [0, 1], (B, *task.shape)."""
        return self.body((x - self.mean) / self.std)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self.head(self.features(x))

    def linear_head(self) -> Head | None:
        """Weight and bias of the head where it is a plain linear layer (a missing bias is zero), else
        None."""
        if type(self.head) is not nn.Linear:
            return None
        weight, bias = self.head.weight.detach(), self.head.bias
        return Head(weight, torch.zeros_like(weight[:, 0]) if bias is None else bias.detach())
