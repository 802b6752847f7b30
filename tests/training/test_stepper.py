"""One step: gradients of several batches, their limit, and what the network runs as meanwhile."""

from __future__ import annotations

import math

import pytest
import torch

from oodbench.core.method import Batch
from oodbench.training.stepper import Step
from tests.training.common import Plain, close, make_samples, recipe_of, run, same, tanh_network


def test_a_steps_forward_is_the_loss_and_its_parameters_the_networks() -> None:
    network, method = tanh_network(), Plain()
    step, data = Step(network, method), make_samples(6)
    batch = Batch(data.images / 255, data.labels)
    assert torch.equal(step(batch), method.loss(network, batch))
    assert [id(p) for p in step.parameters()] == [id(p) for p in network.parameters()]


@pytest.mark.parametrize("n", [48, 54, 23])
def test_accumulated_batches_are_one_large_batch(n: int) -> None:
    """54 leaves a short group with a short batch, 23 a group of a single one."""
    data = make_samples(n)
    small, _ = run(recipe_of(batch_size=4, accumulate=4), tanh_network(), data=data)
    large, history = run(recipe_of(batch_size=16), tanh_network(), data=data)
    assert close(small, large)
    assert history[-1]["loss"] < history[0]["loss"]


def test_clipping_limits_the_step() -> None:
    recipe = recipe_of(epochs=1, batch_size=64, lr=1.0, momentum=0.0, weight_decay=0.0, schedule="constant")
    for limit in (1e-3, 0.05):
        before, after = tanh_network(), tanh_network()
        run(recipe.model_copy(update={"clip": limit}), after)
        step = sum(
            float((p - q).detach().square().sum())
            for p, q in zip(before.parameters(), after.parameters(), strict=True)
        )
        assert math.sqrt(step) == pytest.approx(limit, rel=1e-3)
    free, loose = tanh_network(), tanh_network()
    run(recipe, free)
    run(recipe.model_copy(update={"clip": 1e3}), loose)
    assert same(free, loose)
