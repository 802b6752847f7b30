"""A training method: one batch in, one loss out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from oodbench.core.network import Network
from oodbench.core.outputs import Outputs


class Batch(NamedTuple):
    """What a training step sees.

    Args:
        inputs: augmented images (B, C, H, W) in [0, 1].
        labels: their classes (B,), int64, from 0 to the number of classes - 1.
        outliers: images like the inputs, of no known class; None unless the method `needs` them.
        views: further augmentations of the same samples, like the inputs; as many as the method's `views`.
        progress: part of the training that is over, in [0, 1].
        rng: generator on the device of the inputs, for all randomness of the loss; None: torch's global one.

    Example:
        >>> import torch
        >>> batch = Batch(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]), progress=0.5)
        >>> batch._replace(inputs=batch.inputs.flip(-1)).labels
        tensor([0, 1])
    """

    inputs: Tensor
    labels: Tensor
    outliers: Tensor | None = None
    views: tuple[Tensor, ...] = ()
    progress: float = 0.0
    rng: torch.Generator | None = None


class Course(NamedTuple):
    """What is known of a training before it begins.

    Args:
        counts: training images of each class.
        epochs: passes over them.
        batches: batches of all epochs together.

    Example:
        >>> Course((40, 60), epochs=2, batches=20).last
        0.95
    """

    counts: tuple[int, ...]
    epochs: int
    batches: int

    @property
    def last(self) -> float:
        """The `progress` of the last batch."""
        return (self.batches - 1) / self.batches


class Method:
    """How a network gets its weights: the base class of all methods.

    Most methods define `criterion`, the loss of each sample from its logits, or `loss`, that of a batch. All
    state (queues, averages, centres, heads) is put on the network by `setup`, so that it is saved, resumed
    and synchronised with it.

    Args:
        Keyword-only parameters of a subclass's `__init__` are its configuration: the keys of a suite.

    Attributes:
        provides: what the method brings: a ``loss`` to train with, ready-made ``weights``, ready-made
            ``outputs``, or ``members``, the networks that its parameter `of` trains.
        needs: what each batch must carry beyond inputs and labels: nothing, or ``outliers``.
        views: number of further augmented views in each batch.
        acted: whether the method's own term took part in the last loss, a bool or a tensor without
            dimensions. A method whose term may be absent (it begins late, waits for something, is zero below
            a margin) sets it in `loss` or `criterion`. A training in which it never acts is an error: it
            would be that of another method.
        acts_once: what its own term waits for, in words that end the sentence "it acts once ...".

    Example:
        >>> import oodbench, torch
        >>> @oodbench.method("squared-error", source="an example")
        ... class SquaredError(oodbench.Method):
        ...     '''Mean squared distance of the probabilities to the label.'''
        ...
        ...     def __init__(self, *, scale: float = 1.0) -> None:
        ...         self.scale = scale
        ...
        ...     def criterion(self, logits, labels):
        ...         label = torch.nn.functional.one_hot(labels, logits.shape[1])
        ...         return self.scale * (logits.softmax(1) - label).square().sum(1)
        >>> SquaredError().criterion(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor([0.5000])
    """

    provides: ClassVar[Literal["loss", "weights", "outputs", "members"]] = "loss"
    needs: frozenset[str] = frozenset()
    views: int = 0
    acted: bool | Tensor = True
    acts_once: ClassVar[str] = ""

    def nested(self) -> Iterator[Method]:
        """This method and those that it wraps (`of`), from outside in."""
        yield self
        inner = getattr(self, "of", None)
        if isinstance(inner, Method):
            yield from inner.nested()

    def objection(self, course: Course) -> str:
        """Why the method's own term would never act in such a training, and what to change, in one line;
        empty where it may act. Asked when a suite is planned. The default asks the method that this one
        wraps."""
        inner = getattr(self, "of", None)
        return inner.objection(course) if isinstance(inner, Method) else ""

    def setup(self, network: Network) -> None:
        """Attach heads and buffers: called once, before the optimiser is made and before weights are
        loaded."""

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each sample, (B,), from logits (B, C) and labels (B,)."""
        raise NotImplementedError

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """Scalar loss of a batch. The default is the mean criterion."""
        return self.criterion(network(batch.inputs), batch.labels).mean()

    def check(self) -> None:
        """Raise UserError where a file of the method's own cannot be read. Asked before any data are."""

    def load(self, network: Network) -> None:
        """For `provides == "weights"`: put the weights into the network, or raise UserError."""
        raise NotImplementedError

    def outputs(self, name: str) -> Outputs:
        """For `provides == "outputs"`: the ready-made outputs of the set `name` (train, val, test or an OOD
        set)."""
        raise NotImplementedError

    def digest(self, name: str) -> str:
        """For `provides == "outputs"`: sha256 of what `outputs(name)` holds, its identity; MissingData where
        there is no such set."""
        raise NotImplementedError
