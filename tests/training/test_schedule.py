"""Batches, steps and learning rates, each against torch's own schedule or a count by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from oodbench.training.recipe import Recipe
from oodbench.training.schedule import Schedule, batches_in, course_of, learning_rate
from tests.training.common import make_samples, recipe_of, run


def test_a_last_batch_of_one_is_left_out() -> None:
    assert [batches_in(n, 16) for n in (1, 15, 16, 17, 18, 33)] == [1, 1, 1, 1, 2, 2]
    run(recipe_of(epochs=1), data=make_samples(17))  # batch norm would refuse a batch of one


def test_a_course_is_counted_before_training() -> None:
    labels = torch.tensor([0, 2, 2, 0, 0, 2, 2])
    assert course_of(recipe_of(epochs=3, batch_size=2), labels, 4) == ((3, 0, 4, 0), 3, 9)
    course = course_of(recipe_of(epochs=4, batch_size=16), make_samples().labels, 3)
    assert (course.counts, course.batches) == ((18, 18, 17), 16)
    assert course.last == Schedule(recipe_of(), 53).at(3, 3).progress


def scheduled(recipe: Recipe, steps: int) -> list[float]:
    return [learning_rate(recipe, s, steps) for s in range(recipe.epochs * steps)]


def by_torch(make: Any, lr: float, total: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = make(optimizer), []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_is_torchs() -> None:
    recipe = Recipe(epochs=5, lr=0.3)
    expected = by_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 35), 0.3, 35)
    assert scheduled(recipe, 7) == pytest.approx(expected, abs=1e-9)


def test_steps_are_torchs() -> None:
    recipe = Recipe(epochs=10, lr=0.3, schedule="step", milestones=(0.3, 0.6, 0.9), gamma=0.2)
    expected = by_torch(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [30, 60, 90], gamma=0.2), 0.3, 100)
    assert scheduled(recipe, 10) == pytest.approx(expected, rel=1e-9)


def test_constant_and_warm_up() -> None:
    rates = scheduled(Recipe(epochs=4, lr=0.8, schedule="constant", warmup_epochs=2), 4)
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8] + [0.8] * 8)
    warm = scheduled(Recipe(epochs=4, lr=0.8, warmup_epochs=1), 4)
    assert warm[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert warm[4:] == pytest.approx([0.4 * (1 + math.cos(math.pi * i / 12)) for i in range(12)])


def test_restarts_are_torchs() -> None:
    recipe = Recipe(epochs=12, lr=0.3, lr_min=3e-4, schedule="restarts", restarts=2)
    make = lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 20, eta_min=3e-4)  # noqa: E731
    rates = scheduled(recipe, 5)
    assert rates == pytest.approx(by_torch(make, 0.3, 60), abs=1e-9)
    assert [i for i, rate in enumerate(rates) if rate == pytest.approx(0.3)] == [0, 20, 40]


def test_a_warm_up_lies_inside_the_first_cycle() -> None:
    plain = scheduled(Recipe(epochs=12, lr=0.3, schedule="restarts"), 5)
    warm = scheduled(Recipe(epochs=12, lr=0.3, schedule="restarts", warmup_epochs=2), 5)
    assert warm[10:] == pytest.approx(plain[10:])
    assert warm[:10] == pytest.approx([plain[10] * (i + 1) / 10 for i in range(10)])


def test_cosine_ends_at_its_minimum() -> None:
    rates = scheduled(Recipe(epochs=10, lr=0.1, lr_min=0.02), 100)
    assert rates == pytest.approx(
        by_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 1000, 0.02), 0.1, 1000)
    )
    assert rates[-1] == pytest.approx(0.02, abs=1e-6)


def test_every_batch_has_its_place() -> None:
    """53 samples in batches of 8: six full ones and one of 5; steps of three batches, the last of one."""
    schedule = Schedule(Recipe(epochs=2, batch_size=8, accumulate=3, lr=0.1), 53)
    assert (schedule.batches, schedule.samples, schedule.steps) == (7, 53, 3)
    places = [schedule.at(epoch, number) for epoch in range(2) for number in range(7)]
    assert [p.step for p in places] == [0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 4, 4, 5]
    assert [p.first for p in places[:7]] == [True, False, False, True, False, False, True]
    assert [p.last for p in places[:7]] == [False, False, True, False, False, True, True]
    assert [p.samples for p in places[:7]] == [24, 24, 24, 24, 24, 24, 5]
    assert [p.progress for p in places] == pytest.approx([i / 14 for i in range(14)])
    cosine = [0.05 * (1 + math.cos(math.pi * p.step / 6)) for p in places]
    assert [p.lr for p in places] == pytest.approx(cosine)


def test_a_batch_that_is_left_out_is_in_no_count() -> None:
    """17 samples in batches of 16: the last would hold one. So it is with several processes, who see the
    batches of one."""
    for size in (1, 2, 8):
        recipe = Recipe(epochs=1, batch_size=16, world_size=size)
        assert [Schedule(recipe, n).samples for n in (17, 18, 19)] == [16, 18, 19]
        assert course_of(recipe, make_samples(18).labels, 3).batches == 2
