"""When what happens in a training: how many steps there are, where each batch stands, its learning rate."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from oodbench.core.method import Course
from oodbench.training.recipe import Recipe


class Place(NamedTuple):
    """Where one batch stands in a training."""

    step: int
    """Steps of the optimiser before this batch's, since training began."""
    lr: float
    """Learning rate of that step."""
    first: bool
    """Whether the batch is the first of those whose gradients make the step."""
    last: bool
    """Whether it is the last of them, after which the weights change."""
    samples: int
    """Samples in all batches of the step."""
    progress: float
    """Part of the training that is over, in [0, 1)."""


class Schedule:
    """The batches and steps of a training of `samples` samples by `recipe`."""

    def __init__(self, recipe: Recipe, samples: int) -> None:
        self.recipe = recipe
        self.batches = batches_in(samples, recipe.batch_size)
        """Batches in an epoch."""
        self.samples = min(samples, self.batches * recipe.batch_size)
        """Samples seen in an epoch."""
        self.steps = -(-self.batches // recipe.accumulate)
        """Steps of the optimiser in an epoch."""

    def at(self, epoch: int, number: int) -> Place:
        """The place of batch `number` of an epoch, both counted from zero."""
        group, place = divmod(number, self.recipe.accumulate)
        step, together = epoch * self.steps + group, self.recipe.batch_size * self.recipe.accumulate
        return Place(
            step=step,
            lr=learning_rate(self.recipe, step, self.steps),
            first=place == 0,
            last=place == self.recipe.accumulate - 1 or number == self.batches - 1,
            samples=min(together, self.samples - group * together),
            progress=(epoch * self.batches + number) / (self.recipe.epochs * self.batches),
        )


def course_of(recipe: Recipe, labels: Tensor, classes: int) -> Course:
    """What is known before a training on images of those labels (N,)."""
    counts = tuple(labels.bincount(minlength=classes).tolist())
    batches = Schedule(recipe, len(labels)).batches
    return Course(counts, recipe.epochs, recipe.epochs * batches)


def batches_in(samples: int, size: int) -> int:
    """Batches in an epoch; a last one of a single sample is left out, since batch norm cannot learn from
    it."""
    return max(1, samples // size + (samples % size >= 2))


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of one step. Warm-up is linear from zero; the schedule then runs over what is left of
    training.

    Cosine: lr_min + (lr - lr_min) (1 + cos(pi t)) / 2, t in [0, 1). Restarts: the same in `restarts` + 1
    cycles of equal length that begin with training, the warm-up inside the first (torch's
    CosineAnnealingWarmRestarts; Vaze et al., ICLR 2022, utils/schedulers.py). Step: lr gamma^k after k
    milestones.

    A function of the step, and not torch's lr_scheduler objects, so that a resumed training needs no state
    of it: docs/decisions/learning-rate-schedules.md."""
    total, warmup = recipe.epochs * steps_per_epoch, recipe.warmup_epochs * steps_per_epoch
    if recipe.schedule == "restarts":
        rate = _cosine(recipe, max(step, warmup) * (recipe.restarts + 1) / total % 1)
        return rate * (step + 1) / warmup if step < warmup else rate
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    at = (step - warmup) / max(total - warmup, 1)
    if recipe.schedule == "cosine":
        return _cosine(recipe, at)
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** sum(at >= milestone for milestone in recipe.milestones)
    return recipe.lr


def _cosine(recipe: Recipe, at: float) -> float:
    return recipe.lr_min + (recipe.lr - recipe.lr_min) * 0.5 * (1 + math.cos(math.pi * at))
