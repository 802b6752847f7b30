"""A network's first weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from oodbench.core import registry
from oodbench.core.network import Network, Task
from oodbench.training.initialise import fresh_weights, given_weights
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


LOADS = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, file=None, frozen=False):
        super().__init__()
        self.norm, self.body, self.fc = nn.BatchNorm1d(192), nn.Linear(192, 4), nn.Linear(4, 5)
        if file:
            self.body.load_state_dict(torch.load(file))
    def forward(self, x):
        return self.fc(self.body(self.norm(x.flatten(1))).relu())
"""


def test_weights_that_a_network_brings_are_told_by_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(LOADS)
    file, task = tmp_path / "w.pt", TASK._replace(shape=(3, 8, 8), mean=(0.4,) * 3, std=(0.3,) * 3, classes=5)

    def given(**options: str) -> str:
        return given_weights({"module": {"target": f"{tmp_path}/net.py:Net", "options": options}}, task)

    assert given() == "", "all are drawn; constants are not brought"
    digests = []
    for value in (0.1, 0.2, 0.1):
        weight = torch.full((4, 192), value)
        weight[0] = 1.0
        torch.save({"weight": weight, "bias": torch.zeros(4)}, file)
        digests.append(given(file=str(file)))
    assert digests[0] != digests[1]
    assert digests[0] == digests[2] != ""


def test_computed_weights_are_told_by_what_they_come_from() -> None:
    with registry.isolated():

        @registry.network("computed", source="this test")
        def computed(task: Task, *, of: str, value: float) -> Network:
            """A head that is computed."""
            built = Network(task, nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), nn.Linear(4, 3))
            nn.init.constant_(built.head.weight, value)
            built.derived["head.weight"] = of
            return built

        digests = [given_weights({"computed": {"of": of, "value": v}}, TASK) for of, v in _COMPUTED]
    assert digests[0] == digests[1] != "", "rounding does not matter"
    assert digests[0] != digests[2], "the source does, whatever the values"


_COMPUTED = (("texts", 1.0), ("texts", 1.0 + 1e-6), ("other texts", 1.0))


def test_networks_of_our_own_bring_nothing() -> None:
    task = TASK._replace(shape=(3, 32, 32), mean=(0.4,) * 3, std=(0.3,) * 3)
    for name in ("mlp", "small-cnn", "resnet18-32", "vgg32", "vit-small-32", "wrn-16-4"):
        if name in registry.networks:
            assert given_weights(name, task) == "", name
