"""What a recipe asks of one step, each part against torch's own, a second formula, or a step worked out by
hand."""

from __future__ import annotations

import math
from typing import Any

import pydantic
import pytest
import torch
from torch import Tensor, nn

from oodbench.training.optimiser import Average, Randomness, learning_rate, make_optimizer, sharpen
from oodbench.training.recipe import Recipe

# ---------------------------------------------------------------- learning rates


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


# ---------------------------------------------------------------- optimisers


@pytest.mark.parametrize(
    ("changes", "kind", "group"),
    [
        ({}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
        (
            {"nesterov": False, "weight_decay": 1e-4},
            torch.optim.SGD,
            {"momentum": 0.9, "nesterov": False, "weight_decay": 1e-4},
        ),
        ({"momentum": 0.0}, torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
        ({"optimizer": "sam"}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ({"optimizer": "adamw", "lr": 0.01}, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 5e-4}),
    ],
)
def test_the_optimiser_is_what_the_recipe_says(
    changes: dict[str, Any], kind: type, group: dict[str, Any]
) -> None:
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    optimizer = make_optimizer(network, Recipe(**changes))
    assert type(optimizer) is kind
    assert group.items() <= optimizer.param_groups[0].items()
    assert [p for g in optimizer.param_groups for p in g["params"]] == [network.weight]


def test_sam_takes_the_gradient_uphill() -> None:
    """f(w) = w' A w / 2: the gradient at w + rho g / |g| is A w + rho A g / |g| with g = A w."""
    matrix, w = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([1.0, -2.0])
    module = nn.Module()
    module.w = nn.Parameter(w.clone())

    def loss() -> Tensor:
        return 0.5 * module.w @ matrix @ module.w

    loss().backward()
    sharpen(module, loss, 0.3, Randomness(torch.Generator()))
    g = matrix @ w
    torch.testing.assert_close(module.w.grad, matrix @ (w + 0.3 * g / g.norm()))
    assert torch.equal(module.w.detach(), w)


def test_sam_sees_the_same_dropout_and_draws_and_leaves_buffers_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    x, rng, seen = torch.randn(6, 4), torch.Generator().manual_seed(1), []

    def loss() -> Tensor:
        drawn = torch.rand(3, generator=rng)
        out = module(x)
        seen.append((drawn, module[2](torch.ones(1000))))
        return out.square().mean()

    before = Randomness(rng)
    loss().backward()
    statistics = {k: v.clone() for k, v in module.state_dict().items()}
    sharpen(module, loss, 0.1, before)
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    assert all(torch.equal(v, statistics[k]) for k, v in module.state_dict().items())


def test_the_average_may_look_through_the_network_and_goes_again() -> None:
    network = nn.Linear(2, 1)
    start = network.weight.detach().clone()
    average = Average(network, 0.5)
    with torch.no_grad():
        network.weight.add_(1)
    average.update(network, step=100)
    now = network.weight.detach().clone()
    with average.inside(network):
        torch.testing.assert_close(network.weight.detach(), start + 0.5)
    assert torch.equal(network.weight.detach(), now)


# ---------------------------------------------------------------- recipes that cannot be


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optimizer": "sam", "accumulate": 2}, "accumulate should be 1, got 2"),
        ({"optimizer": "sam", "precision": "fp16"}, "fp32 or bf16, got fp16"),
        ({"ema": 1.0}, "less than 1"),
        ({"accumulate": 0}, "greater than or equal to 1"),
        ({"precision": "fp8"}, "'fp32', 'bf16' or 'fp16'"),
        ({"accumulate": True}, "should be a int, got true"),
    ],
)
def test_what_does_not_go_together_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        Recipe(**keys)
