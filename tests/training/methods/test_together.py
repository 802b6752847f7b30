"""Every registered method trained by two processes ends in the weights of one process: queues, prototypes,
moving targets, views, outliers and mixing included. In float64, so that what differs is no rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.method import Method
from oodbench.core.network import Task
from oodbench.data.contract import toy_images
from oodbench.training.initialise import fresh_weights
from oodbench.training.loop import train
from oodbench.training.reader import Material
from oodbench.training.recipe import Recipe
from tests.training.methods.test_every_method import spec_of, trained
from tests.training.pairs import found_by, save_found

ACTING: dict[str, Any] = {
    "acls": {"acls": {"margin": 0.0}}, "mbls": {"mbls": {"margin": 0.1}}, "mcd": {"mcd": {"start": 0.3}},
    "cutmix": {"cutmix": {"p": 1.0}}, "online-label-smoothing": {"online-label-smoothing": {"updates": 4}},
}  # fmt: skip
"""Parameters with which the method's own term takes part in so short a training."""
NESTED: dict[str, Any] = {
    "mixup of vos": {"mixup": {"of": {"vos": {"size": 8, "draws": 40}}}},
    "regmixup of outlier-exposure": {"regmixup": {"of": {"outlier-exposure": {"of": "logitnorm"}}}},
    "adversarial of mixup": {"adversarial": {"steps": 2, "of": {"mixup": {"of": "supcon"}}}},
    "ddu of cider": {"ddu": {"coefficient": 0.5, "of": "cider"}},
}
RECIPE = {"epochs": 2, "batch_size": 11, "lr": 0.01, "optimizer": "sam", "ema": 0.8, "augment": ("flip",)}
"""Two passes a step, and an average. Of 27 images the batches are odd, and the last holds five."""


def weights(spec: Any, processes: int) -> tuple[dict[str, Any], list[Any]]:
    method: Method = registry.build("method", spec)
    task = Task("image", (1, 8, 8), 4, (0.3,), (0.3,))
    network = fresh_weights({"small-cnn": {"width": 4}}, method, task, seed=0).double()
    data = Material(toy_images(27, seed=1), toy_images(9), Geometry((1, 8, 8)), toy_images(20, ood=True))
    told = {"world_size": processes, "sync_batchnorm": processes > 1}  # small-cnn has batch norm
    history = train(network, method, Recipe(**RECIPE | told), data, seed=3)
    return network.state_dict(), history


def cases() -> dict[str, Any]:
    return {name: ACTING.get(name, spec_of(name)) for name in trained()} | NESTED


def work(folder: Path) -> None:
    save_found(lambda _: {name: weights(spec, 2) for name, spec in cases().items()}, folder)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return found_by("tests.training.methods.test_together", tmp_path_factory.mktemp("methods"))


@pytest.mark.parametrize("name", cases())
def test_two_processes_train_what_one_would(name: str, both: list[dict[str, Any]]) -> None:
    alone, history = weights(cases()[name], 1)
    (first, first_history), (second, second_history) = (found[name] for found in both)
    assert set(first) == set(alone)
    for key, value in alone.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], value, rtol=0, atol=1e-8)
    assert first_history == second_history
    assert history[-1]["acted"] > 0
    for key in ("loss", "acted", "val_accuracy"):
        assert [r[key] for r in first_history] == pytest.approx([r[key] for r in history], abs=1e-6), key
