"""Batches for training: shuffled, augmented, read ahead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.dataset import Geometry, Samples
from oodbench.core.method import Batch, Method
from oodbench.data.images import to_float
from oodbench.data.reading import read_ahead
from oodbench.training.processes import ALONE, Team
from oodbench.training.recipe import Recipe
from oodbench.training.schedule import Place, Schedule, batches_in

HELD_BYTES = 2 * 2**30
"""Sets of at most so many bytes are moved to the device once; larger ones are read batch by batch,
ahead."""


class Material(NamedTuple):
    """What a network learns from: training samples; validation samples, which each epoch is measured on;
    outliers for methods that need them; the geometry in which all are read."""

    train: Samples
    val: Samples | None
    geometry: Geometry
    outliers: Samples | None = None


class Reader:
    """Batches of a set on the device, in a given order: held there whole where it is small, else read ahead,
    each image by one process of the team."""

    def __init__(
        self, samples: Samples, geometry: Geometry, device: str | torch.device, team: Team = ALONE
    ) -> None:
        self.samples, self.geometry, self.device, self.team = samples, geometry, device, team
        self.labels = samples.labels.to(device)
        one = samples.read([0], geometry)
        self.held = (
            samples.read(range(len(samples)), geometry).to(device)
            if one.nbytes * len(samples) <= HELD_BYTES
            else None
        )

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels of every batch."""
        parts = order.split(size)[: batches_in(len(order), size)]
        if self.held is not None:
            for index in parts:
                at = index.to(self.device)
                yield to_float(self.held[at]), self.labels[at]
            return
        read = read_ahead(self.samples, self.geometry, [self._mine(part) for part in parts], self.device)
        for index, images in zip(parts, read, strict=True):
            yield to_float(self.team.whole(images, len(index))), self.labels[index.to(self.device)]

    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """`count` images drawn with replacement."""
        index = torch.randint(0, len(self.samples), (count,), generator=rng, device=rng.device)
        if self.held is not None:
            return to_float(self.held[index])
        images = self.samples.read(self._mine(index.cpu()), self.geometry).to(self.device)
        return to_float(self.team.whole(images, count))

    def _mine(self, index: Tensor) -> Tensor:
        """What of a batch this process reads."""
        return self.team.share(index) if self.team.divides(len(index)) else index


class Feed:
    """The batches of a training: augmented, with outliers, further views and a generator where the method
    asks for them. Each epoch seeds its own shuffling, augmentation and dropout. Every process of a team draws
    and sees whole batches, those of one process; it is the network's body that is shared out."""

    def __init__(
        self, data: Material, method: Method, recipe: Recipe, seed: int, device: torch.device, team: Team
    ) -> None:
        self.method, self.recipe, self.seed, self.device = method, recipe, seed, device
        self._augment = [registry.build("augmentation", a) for a in recipe.augment]
        self._train = Reader(data.train, data.geometry, device, team)
        outliers = data.outliers if "outliers" in method.needs else None
        self._outliers = Reader(outliers, data.geometry, device, team) if outliers else None
        self.schedule = Schedule(recipe, len(data.train))

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, Place]]:
        """The batches of one epoch. Seeds torch's global generator at its beginning, for dropout and whatever
        a method draws without the batch's generator."""
        seed = self.seed * 1_000_003 + epoch
        torch.manual_seed(seed)
        rng = torch.Generator(device=self.device).manual_seed(seed)
        order = torch.randperm(len(self._train.samples), generator=torch.Generator().manual_seed(seed))
        for number, (inputs, labels) in enumerate(self._train.batches(order, self.recipe.batch_size)):
            place = self.schedule.at(epoch, number)
            yield self._batch(inputs, labels, place.progress, rng), place

    def _batch(self, inputs: Tensor, labels: Tensor, progress: float, rng: torch.Generator) -> Batch:
        views = tuple(self._augmented(inputs, rng) for _ in range(self.method.views))
        outliers = None
        if self._outliers is not None:
            outliers = self._augmented(self._outliers.sample(len(inputs), rng), rng)
        return Batch(self._augmented(inputs, rng), labels, outliers, views, progress, rng)

    def _augmented(self, inputs: Tensor, rng: torch.Generator) -> Tensor:
        for transform in self._augment:
            inputs = transform(inputs, rng)
        return inputs
