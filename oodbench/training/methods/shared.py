"""What several methods need: nesting one method in another, random mixing, state on the network. No component
stands here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from oodbench.core.errors import NotApplicable
from oodbench.core.method import Batch, Course, Method
from oodbench.core.network import Network
from oodbench.core.spec import label_of
from oodbench.training.randomness import dirichlet

CROSS_ENTROPY: Any = "cross-entropy"
"""Default of a parameter `of: Method`; the registry makes the method of it."""


def has_criterion(of: Method) -> bool:
    """Whether a method's loss is the mean of its criterion, a function of logits and labels alone."""
    return type(of).loss is Method.loss and not of.needs and not of.views


def require_criterion(name: str, of: Method) -> None:
    """Refuse, for the method `name`, an inner method whose loss is more than a criterion of logits and
    labels."""
    if of.provides != "loss" or not has_criterion(of):
        raise NotApplicable(
            f"method {name!r}: of: {label_of(of)} is no criterion of logits"
            " and labels alone; put it outside instead, or use one such as cross-entropy, label-smoothing"
            " or als"
        )


def mixed_loss(
    of: Method, network: Network, batch: Batch, inputs: Tensor, other: Tensor, share: Tensor
) -> Tensor:
    """share * loss(inputs, labels) + (1 - share) * loss(inputs, other labels), by the method `of`.

    One forward pass where `of` is a criterion of logits and labels; two for any other method.
    """
    if has_criterion(of):
        logits = network(inputs)
        return (
            share * of.criterion(logits, batch.labels).mean()
            + (1 - share) * of.criterion(logits, other).mean()
        )
    first, second = batch._replace(inputs=inputs), batch._replace(inputs=inputs, labels=other)
    return share * of.loss(network, first) + (1 - share) * of.loss(network, second)


def beta(a: float, b: float, batch: Batch) -> Tensor:
    """A draw from Beta(a, b) by the batch's generator, a tensor without dimensions on its device."""
    return dirichlet(torch.tensor([a, b], device=batch.inputs.device), batch.rng)[0]


def rectangle(batch: Batch, share: Tensor) -> Tensor:
    """A mask (H, W) of one rectangle with sides sqrt(1 - share) of the image's, centred anywhere and cut off
    at the border."""
    spans = []
    for size in batch.inputs.shape[-2:]:
        half = (size * (1 - share).sqrt()).long() // 2
        centre = torch.randint(0, size, (), generator=batch.rng, device=batch.inputs.device)
        place = torch.arange(size, device=batch.inputs.device)
        spans.append((place >= centre - half) & (place < centre + half))
    return spans[0].unsqueeze(1) & spans[1]


class Buffers(nn.Module):
    """Named tensors as a module, so that they are saved, resumed and moved with the network they hang on."""

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def __getitem__(self, name: str) -> Tensor:
        return self.get_buffer(name)


class Queues(nn.Module):
    """The last `size` features of each class, as buffers."""

    rows: Tensor
    pushed: Tensor

    def __init__(self, classes: int, size: int, features: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer(
            "rows", torch.zeros(classes, size + 1, features)
        )  # the last row takes what does not fit
        self.register_buffer("pushed", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def push(self, features: Tensor, labels: Tensor) -> None:
        """Store a batch; where a class's queue is full, its oldest go. No loop, no waiting for an
        accelerator."""
        own = one_hot(labels, len(self.rows))
        place, total = own.cumsum(dim=0).gather(1, labels.unsqueeze(1))[:, 0] - 1, own.sum(dim=0)
        slot = (self.pushed[labels] + place) % self.size
        slot = torch.where(place >= total[labels] - self.size, slot, self.size)
        self.rows[labels, slot] = features.detach().to(self.rows.dtype)
        self.pushed += total

    @property
    def full(self) -> bool:
        return bool((self.pushed >= self.size).all())

    @property
    def features(self) -> Tensor:
        """(C, size, D), in no particular order within a class."""
        return self.rows[:, : self.size]


def too_late(course: Course, start: float) -> str:
    """Why a term that begins at the fraction `start` of a training never begins; empty where it does."""
    if start <= course.last:
        return ""
    return f"start is {start:g}, and the last batch comes at {course.last:.4g} of training; set it lower"


def too_few(course: Course, size: int, of_each: int = 1) -> str:
    """Why queues of `size` features a class, which take `of_each` features of every image, never fill; empty
    where they may."""
    most = min(course.counts) * of_each * course.epochs
    if most >= size:
        return ""
    return (
        f"the smallest class has {min(course.counts)} training images, of which {course.epochs} epochs bring"
        f" {most} features, and its queue takes {size}; train for longer, or set size below {most}"
    )


def memory(network: Network, name: str) -> Buffers:
    """The state that a method's `setup` hung on the network under `name`."""
    state = network.get_submodule(name)
    assert isinstance(state, Buffers)
    return state


def width(name: str, network: Network) -> int:
    """Number of features of a network that still has its linear head; a method that replaces or reads it
    refuses any other."""
    if type(network.head) is not nn.Linear:
        raise NotApplicable(
            f"method {name!r} needs a network with a linear head, got {type(network.head).__name__}"
        )
    return network.head.in_features
