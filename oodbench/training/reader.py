"""Batches for training: shuffled, augmented, read ahead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from oodbench.core.dataset import Geometry, Samples
from oodbench.data.images import to_float
from oodbench.training.processes import ALONE, Team

_HELD = 2 * 2**30
"""Sets of at most so many bytes are moved to the device once; larger ones are read batch by batch, one
ahead."""


def _augmented(inputs: Tensor, augment: list[Any], rng: torch.Generator) -> Tensor:
    for transform in augment:
        inputs = transform(inputs, rng)
    return inputs


def _batches(n: int, size: int, processes: int = 1) -> int:
    """Batches in an epoch; a last one without two samples for each process is left out, since batch norm
    cannot learn from one."""
    return max(1, n // size + (n % size >= 2 * processes))


class Reader:
    """Batches of a set on the device, in a given order: held there whole where it is small, else read one
    batch ahead."""

    def __init__(self, samples: Samples, geometry: Geometry, device: str | torch.device) -> None:
        self.samples, self.geometry, self.device = samples, geometry, device
        self.labels = samples.labels.to(device)
        one = samples.read([0], geometry)
        self._held = (
            samples.read(range(len(samples)), geometry).to(device)
            if one.nbytes * len(samples) <= _HELD
            else None
        )

    def batches(self, order: Tensor, size: int, team: Team = ALONE) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels of every batch, or this process's share of them."""
        parts = [team.share(part) for part in order.split(size)[: _batches(len(order), size, team.size)]]
        if self._held is not None:
            for index in parts:
                at = index.to(self.device)
                yield to_float(self._held[at]), self.labels[at]
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=1) as pool:
            reads = (pool.submit(self.samples.read, index, self.geometry) for index in parts)
            ahead = next(reads, None)
            for index in parts:
                assert ahead is not None
                images, ahead = ahead.result(), next(reads, None)
                yield to_float(images.to(self.device, non_blocking=True)), self.labels[index.to(self.device)]

    def sample(self, count: int, augment: list[Any], rng: torch.Generator) -> Tensor:
        """`count` images drawn with replacement, augmented."""
        index = torch.randint(0, len(self.samples), (count,), generator=rng, device=rng.device)
        images = (
            self._held[index]
            if self._held is not None
            else self.samples.read(index.cpu(), self.geometry).to(self.device)
        )
        return _augmented(to_float(images), augment, rng)
