"""A training that was interrupted ends as if it had not been."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from oodbench.training.loop import Listener
from oodbench.training.state import State
from tests.training.common import fresh, recipe_of, run, same

RECIPES = {
    "sgd": {},
    "adamw": {"optimizer": "adamw", "lr": 0.01},
    "best-val": {"select": "best-val", "schedule": "constant", "lr": 0.3},
    "warm-up and steps": {"warmup_epochs": 1.5, "schedule": "step", "momentum": 0.0},
    "average": {"ema": 0.9, "select": "best-val"},
    "sam": {"optimizer": "sam", "rho": 0.1},
    "bf16, clipped, accumulated": {"precision": "bf16", "clip": 0.5, "accumulate": 3},
    "fp16": {"precision": "fp16", "schedule": "restarts", "restarts": 1},
    "channels last": {"channels_last": True},
    "augmented": {"augment": ["flip", {"pad-crop": {"padding": 1}}]},
}


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_training_resumed_from_its_saved_state_ends_in_the_same_weights_bit_for_bit(
    changes: dict[str, Any], killed_after: int
) -> None:
    recipe = recipe_of(**changes)
    states: list[State] = []

    def save(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        states.append(
            (
                {k: v.detach().clone() for k, v in tensors.items()},
                {**scalars, "history": list(scalars["history"])},
            )
        )

    whole, history = run(recipe, listener=Listener(save=save))
    resumed, history_resumed = run(recipe, fresh(seed=77), resume=states[killed_after - 1])
    assert same(whole, resumed)
    assert history == history_resumed
    assert len(history) == recipe.epochs
