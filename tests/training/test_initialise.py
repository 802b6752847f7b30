"""A network's first weights."""

from __future__ import annotations

import torch

from oodbench.core import registry
from oodbench.training.initialise import fresh_weights
from tests.training.common import TASK, Plain, same


def test_initialise_is_seeded() -> None:
    a, b, c = (fresh_weights({"mlp": {"hidden": [4]}}, Plain(), TASK, seed=s) for s in (1, 1, 2))
    assert same(a, b)
    assert not same(a, c)


def test_the_method_sets_the_network_up_and_the_global_random_state_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    network = fresh_weights({"mlp": {"hidden": [4]}}, registry.build("method", "rotation"), TASK, seed=5)
    assert "rotation" in network.heads
    assert torch.equal(torch.get_rng_state(), before)
