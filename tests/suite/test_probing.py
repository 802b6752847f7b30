"""Networks are looked at as methods set them up, and few are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.core.method import Method
from oodbench.core.network import Input, Network, Task
from oodbench.suite import probing
from oodbench.suite.parse import parse_suite
from oodbench.suite.probing import Fed, Probes
from oodbench.suite.suite import Suite
from oodbench.training.initialise import fresh_weights
from tests.suite.written import FAMILY

GEOMETRY = Geometry((1, 8, 8))
TASK = Task("image", (1, 8, 8), 4, (0.0,), (1.0,), ("a", "b", "c", "d"))


def _fed(suite: Suite, task: Task = TASK) -> Fed:
    return Fed(suite.networks[0], Input(), suite.pairs[0], GEOMETRY, task)


def _suite(*methods: Any, **changes: Any) -> Suite:
    return parse_suite(FAMILY | {"methods": list(methods)} | changes)


METHODS = ["cross-entropy", "als", "rotation", "godin", "decoupled", {"mixup": {"of": "als"}},
    {"ensemble": {"members": 2}}, "background-class"]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_probe_is_what_a_run_will_have(method: Any) -> None:
    """Whatever methods were tried before on the same network."""
    suite = _suite(*METHODS)
    fed, probes = _fed(suite), Probes()
    for other in suite.methods:
        probes.network(fed, other, 0)
    (mine,) = _suite(method).methods
    made = probes.network(fed, mine, 0)
    due = fresh_weights(fed.network.spec, registry.build("method", mine.spec), TASK, seed=0)
    assert {k: v.shape for k, v in made.state_dict().items()} == {
        k: v.shape for k, v in due.state_dict().items()
    }
    assert list(made.heads) == list(due.heads)
    assert [type(m) for m in made.modules()] == [type(m) for m in due.modules()]
    assert (made.linear_head() is None) == (due.linear_head() is None)


def test_the_random_state_is_left_as_it_was() -> None:
    suite = _suite("rotation", "als", "decoupled")
    before = torch.get_rng_state()
    for method in suite.methods:
        Probes().network(_fed(suite), method, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_kinds_tell_modules_and_shapes_and_not_values() -> None:
    suite, probes = _suite("cross-entropy", "label-smoothing", "rotation"), Probes()
    plain, smooth, rotation = (probes.kind(_fed(suite), m, 0) for m in suite.methods)
    assert plain == smooth != rotation
    assert probes.kind(_fed(suite, TASK._replace(classes=5)), suite.methods[0], 0) != plain
    wide = _suite("cross-entropy", networks=[{"mlp": {"hidden": [9]}}])
    assert probes.kind(_fed(wide), suite.methods[0], 0) != plain


def test_a_method_that_fails_is_tried_once_and_told_each_time() -> None:
    tried: list[int] = []

    @registry.method("t-fails", source="the test")
    class Fails(Method):
        "Fails."

        def setup(self, network: Network) -> None:
            tried.append(1)
            raise ZeroDivisionError("on purpose")

    suite, probes = _suite("t-fails", "cross-entropy"), Probes()
    for _ in range(3):
        with pytest.raises(UserError, match=r"network 'mlp\(.*' with method 't-fails': .*on purpose"):
            probes.kind(_fed(suite), suite.methods[0], 0)
    assert len(tried) == 1
    assert probes.network(_fed(suite), suite.methods[1], 0).linear_head() is not None


@pytest.mark.parametrize("grows", [False, True])
def test_weights_of_many_seeds_are_loaded_once_each(grows: bool, tmp_path: Path) -> None:
    """Also where loading changes more than values from some seed on: what others see stays as it is."""
    loaded: list[int] = []

    @registry.method("t-loads", source="the test")
    class Loads(Method):
        "Loads."

        provides = "weights"

        def __init__(self, *, file: Path) -> None:
            self.seed = int(file.stem)

        def load(self, network: Network) -> None:
            loaded.append(self.seed)
            if grows and self.seed >= 3:
                network.heads["more"] = nn.Linear(8, 2)

    for seed in range(6):
        (tmp_path / f"{seed}.pt").write_text(str(seed))
    suite = _suite({"t-loads": {"file": str(tmp_path / "{seed}.pt")}}, "cross-entropy")
    probes, (loads, trains) = Probes(), suite.methods
    kinds = [probes.kind(_fed(suite), loads, seed) for seed in [*range(6), *range(6)]]
    assert loaded == list(range(6))
    assert kinds[:6] == kinds[6:]
    assert len(set(kinds)) == (2 if grows else 1)
    assert not probes.network(_fed(suite), trains, 0).heads
    assert bool(probes.network(_fed(suite), loads, 4).heads) == grows
    assert not probes.network(_fed(suite), loads, 1).heads


def test_networks_are_let_go_where_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_ROOM", 1)
    suite, probes = _suite("cross-entropy"), Probes()
    for classes in range(2, 9):
        probes.network(_fed(suite, TASK._replace(classes=classes)), suite.methods[0], 0)
    assert len(probes._bare) == 1
    network = probes.network(_fed(suite, TASK._replace(classes=3)), suite.methods[0], 0)
    assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 3)
