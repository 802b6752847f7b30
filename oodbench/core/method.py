"""A training method: one batch in, one loss out."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from oodbench.core.network import Network
from oodbench.core.outputs import Outputs


class Batch(NamedTuple):
    """What a training step sees: inputs (B, C, H, W) in [0, 1] and labels (B,); outliers where the method
    needs them; further augmented views of the same samples; progress of training in [0, 1]; a generator for
    all randomness."""

    inputs: Tensor
    labels: Tensor
    outliers: Tensor | None = None
    views: tuple[Tensor, ...] = ()
    progress: float = 0.0
    rng: torch.Generator | None = None


class Method:
    """How a network gets its weights. Keyword-only parameters of `__init__` are its configuration.

    `provides` says what the method brings: a ``loss`` to train with, ready-made ``weights``, ready-made
    ``outputs``, or ``members``: the networks that its parameter `of` trains, `members` of them. `needs` lists
    what each batch must carry beyond inputs and labels (``outliers``); `views` is the number of further
    augmented views. All state (queues, averages, centres, heads) is put on the network by `setup`, so that it
    is saved, resumed and synchronised with it."""

    provides: ClassVar[Literal["loss", "weights", "outputs", "members"]] = "loss"
    needs: frozenset[str] = frozenset()
    views: int = 0

    def setup(self, network: Network) -> None:
        """Attach heads and buffers: called once, before the optimiser is made and before weights are
        loaded."""

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each sample, (B,), from logits (B, C) and labels (B,)."""
        raise NotImplementedError

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """Scalar loss of a batch. The default is the mean criterion."""
        return self.criterion(network(batch.inputs), batch.labels).mean()

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
