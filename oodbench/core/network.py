"""The network and what it must fit: task, classification head, the module itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from oodbench.core.dataset import Geometry, Interpolation, Margin


class Task(NamedTuple):
    """What a network must fit. A run makes it of its data and gives it to the network's function.

    Args:
        kind: what a sample is: ``image``.
        shape: of one sample: (C, H, W).
        classes: number of known classes.
        mean: of the ID training images in [0, 1], one number per channel.
        std: their standard deviation, likewise.
        names: of the classes, in the order of the labels; empty where nobody knows them.

    Example:
        >>> Task("image", (1, 28, 28), 10, (0.13,), (0.31,)).classes
        10
    """

    kind: str
    shape: tuple[int, ...]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    names: tuple[str, ...] = ()


class Input(NamedTuple):
    """What a network is fed, as far as it says so itself; what is ``None`` is the pair's, or of the ID
    training images.

    Args:
        mean: subtracted from images in [0, 1], one number per channel.
        std: what they are then divided by, likewise.
        resize: length of the shorter edge before the centre crop, or height and width. ``None`` beside a
            `crop`: no crop, straight to that size.
        crop: height and width.
        interpolation: ``bilinear`` or ``bicubic``.
        antialias: whether a smaller image averages over all pixels that it came from, as Pillow does it.
        margin: ``rounded`` or ``floored``: how an odd margin of the crop is halved, see `Geometry`.

    Example:
        >>> Input(resize=232, crop=(224, 224), interpolation="bicubic").geometry(Geometry((3, 32, 32)))
        Geometry(shape=(3, 224, 224), resize=232, interpolation='bicubic', antialias=True, margin='rounded')
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: Interpolation | None = None
    antialias: bool | None = None
    margin: Margin | None = None

    def geometry(self, pair: Geometry) -> Geometry:
        """The geometry of images, that of the pair where this says nothing."""
        channels = pair.shape[0] if self.mean is None else len(self.mean)
        height, width = self.crop or pair.shape[1:]
        return Geometry(
            (channels, height, width),
            pair.resize if self.crop is None and self.resize is None else self.resize,
            self.interpolation or pair.interpolation,
            pair.antialias if self.antialias is None else self.antialias,
            self.margin or pair.margin,
        )


class Head(NamedTuple):
    """A linear classification head: logits = features @ weight.T + bias.

    Args:
        weight: (C, D), a row for each class.
        bias: (C,).

    Returns:
        Called with features (N, D): logits (N, C).

    Example:
        >>> import torch
        >>> Head(torch.eye(2), torch.tensor([0.0, 1.0]))(torch.tensor([[3.0, 4.0]]))
        tensor([[3., 5.]])
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return torch.nn.functional.linear(features, self.weight, self.bias)


class Network(nn.Module):
    """A classifier in two parts: logits = head(features(x)). Normalisation with the ID statistics lives
    inside, so that OOD inputs meet it too.

    Args:
        task: what the network must fit; it brings the statistics.
        body: maps normalised inputs (B, C, H, W) to penultimate features (B, D).
        head: maps those to logits (B, C) of exactly the known classes.
        stages: names of submodules, shallow to deep, whose outputs a view may read or replace by hook.

    Attributes:
        heads: further functions of the features (rotation, confidence, projection), by name. Methods attach
            them, and extraction stores what they give.
        derived: of weights that are computed and not drawn or read (embeddings of texts), by their name in
            the state dict: a digest of what they are computed from, which is their identity.

    Returns:
        Called with inputs (B, C, H, W) in [0, 1]: logits (B, C).

    Example:
        >>> import torch
        >>> task = Task("image", (1, 8, 8), 10, (0.3,), (0.3,))
        >>> network = Network(task, nn.Flatten(), nn.Linear(64, 10))
        >>> network(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, task: Task, body: nn.Module, head: nn.Module, stages: Sequence[str] = ()) -> None:
        super().__init__()
        shape = (len(task.mean),) + (1,) * (len(task.shape) - 1)
        self.task = task
        self.body = body
        self.head = head
        self.heads = nn.ModuleDict()
        self.derived: dict[str, str] = {}
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
