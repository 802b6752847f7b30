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
    """Batches of a set on the device, in a given order: held there whole where it is small, else read
    ahead."""

    def __init__(self, samples: Samples, geometry: Geometry, device: str | torch.device) -> None:
        self.samples, self.geometry, self.device = samples, geometry, device
        self.labels = samples.labels.to(device)
        one = samples.read([0], geometry)
        self.held = (
            samples.read(range(len(samples)), geometry).to(device)
            if one.nbytes * len(samples) <= HELD_BYTES
            else None
        )

    def batches(self, order: Tensor, size: int, team: Team = ALONE) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels of every batch, or this process's share of them."""
        parts = [team.share(part) for part in order.split(size)[: batches_in(len(order), size, team.size)]]
        if self.held is not None:
            for index in parts:
                at = index.to(self.device)
                yield to_float(self.held[at]), self.labels[at]
            return
        read = read_ahead(self.samples, self.geometry, parts, self.device)
        for index, images in zip(parts, read, strict=True):
            yield to_float(images), self.labels[index.to(self.device)]

    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """`count` images drawn with replacement."""
        index = torch.randint(0, len(self.samples), (count,), generator=rng, device=rng.device)
        images = (
            self.held[index]
            if self.held is not None
            else self.samples.read(index.cpu(), self.geometry).to(self.device)
        )
        return to_float(images)


class Feed:
    """The batches of a training: augmented, with outliers, further views and a generator where the method
    asks for them. Each epoch seeds its own shuffling, augmentation and dropout."""

    def __init__(
        self, data: Material, method: Method, recipe: Recipe, seed: int, device: torch.device, team: Team
    ) -> None:
        self.method, self.recipe, self.seed, self.device, self.team = method, recipe, seed, device, team
        self._augment = [registry.build("augmentation", a) for a in recipe.augment]
        self._train = Reader(data.train, data.geometry, device)
        outliers = data.outliers if "outliers" in method.needs else None
        self._outliers = Reader(outliers, data.geometry, device) if outliers else None
        self.schedule = Schedule(recipe, len(data.train), team.size)

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, Place]]:
        """This process's batches of one epoch. Seeds torch's global generator at its beginning, for dropout
        and whatever a method draws without the batch's generator."""
        seed = self.seed * 1_000_003 + epoch
        own = seed + self.team.rank * 2**40
        torch.manual_seed(own)
        rng = torch.Generator(device=self.device).manual_seed(own)
        order = torch.randperm(len(self._train.samples), generator=torch.Generator().manual_seed(seed))
        read = self._train.batches(order, self.recipe.batch_size, self.team)
        for number, (inputs, labels) in enumerate(read):
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
