"""Attacks: the optimum on a linear network, within bounds, and rows in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.network import Network, Task
from oodbench.data.contract import toy_images
from oodbench.runs.runner import run
from oodbench.suite.load import load_suite
from oodbench.suite.parse import parse_suite
from oodbench.training.contract import toy_network


def _linear() -> Network:
    torch.manual_seed(0)
    task = Task("image", (1, 4, 4), 3, (0.0,), (1.0,))
    return Network(task, nn.Flatten(), nn.Linear(16, 3)).eval()


@pytest.mark.parametrize("direction", ["raise", "lower"])
@pytest.mark.parametrize("attack", [{"pgd": {"steps": 30}}, {"fgsm": {}}])
def test_on_a_linear_score_the_optimum_is_reached(attack: dict[str, Any], direction: str) -> None:
    """With one class the maximal logit is linear in x, so that the best x' moves every pixel by eps against
    the sign of its weight."""
    network = _linear()
    with torch.no_grad():
        network.head.weight[1:] = 0
        network.head.bias.copy_(torch.tensor([10.0, 0.0, 0.0]))
    x = 0.3 + 0.4 * torch.rand(5, 1, 4, 4)
    ((name, given),) = attack.items()
    view = registry.build("view", {name: {**given, "of": "mls", "direction": direction, "eps": "8/255"}})
    view.prepare(network, None, None)
    got = view(network, x, torch.Generator().manual_seed(0))["attack.score"]
    weight = network.head.weight[0]
    best = -(x.flatten(1) @ weight + 10) + (1 if direction == "raise" else -1) * 8 / 255 * weight.abs().sum()
    torch.testing.assert_close(got, best.detach(), rtol=1e-4, atol=1e-5)


def test_inputs_stay_within_eps_and_in_the_unit_range(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = toy_network(), toy_images(8).images.clamp(0, 1)
    seen: list[torch.Tensor] = []
    original = Network.features
    monkeypatch.setattr(
        Network, "features", lambda self, x: (seen.append(x.detach().clone()), original(self, x))[1]
    )
    registry.build("view", {"pgd": {"eps": 0.1, "steps": 4}})(network, x, torch.Generator().manual_seed(0))
    assert len(seen) == 6
    for moved in seen[1:]:
        assert float((moved - x).abs().max()) <= 0.1 + 1e-6
        assert float(moved.min()) >= 0
        assert float(moved.max()) <= 1
    assert float((seen[-1] - x).abs().max()) > 0.05


def test_more_steps_raise_the_loss_more() -> None:
    network, x = toy_network(), toy_images(40, seed=3).images.clamp(0, 1)
    right = network(x).argmax(dim=1)

    def loss(steps: int) -> float:
        view = registry.build("view", {"pgd": {"eps": 0.3, "steps": steps}})
        logits = view(network, x, torch.Generator().manual_seed(0))["attack.logits"]
        return float(nn.functional.cross_entropy(logits, right))

    clean = float(nn.functional.cross_entropy(network(x), right).detach())
    assert clean < loss(1) < loss(20)


SUITE: dict[str, Any] = {
    "name": "attacked", "networks": [{"mlp": {"hidden": [16]}}], "methods": ["cross-entropy"],
    "scorers": ["msp", "knn", "odin"],
    "recipe": {"epochs": 3, "lr": 0.05}, "attacks": [{"fgsm": {"eps": 0.2}},
    {"pgd": {"eps": 0.2, "steps": 5}}],
    "pairs": [{"name": "two", "id": {"digits": {"classes": [0, 1, 2, 3]}},
    "near": [{"digits": {"classes": [6, 7]}}]}],
}  # fmt: skip


def test_rows_under_attack_in_both_directions(tmp_path: Path) -> None:
    done = run(parse_suite(SUITE), results=tmp_path, device="cpu")
    assert done.failed == 0
    rows = done.rows.set_index(["scorer", "condition", "ood"])
    near = "digits(classes=[6,7])"
    for scorer in ("msp", "knn"):
        clean = rows.loc[(scorer, "clean", near)]
        for attack in ("fgsm(eps=0.2)", "pgd(eps=0.2,steps=5)".replace(",", ", ")):
            assert rows.loc[(scorer, f"{attack} on OOD", near)].auroc < clean.auroc
            assert rows.loc[(scorer, f"{attack} on ID", near)].auroc < clean.auroc
            assert rows.loc[(scorer, f"{attack} on ID", "")].id_accuracy < clean.id_accuracy
            assert rows.loc[(scorer, f"{attack} on OOD", "")].id_accuracy == clean.id_accuracy
    assert not [c for s, c, _ in rows.index if s == "odin" and c != "clean"]
    assert set(run(parse_suite(SUITE), results=tmp_path, device="cpu").made.values()) == {0}
    again = load_suite(tmp_path / "attacked" / "suite.yaml")
    assert [a.label for a in again.attacks] == ["fgsm(eps=0.2)", "pgd(eps=0.2, steps=5)"]


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"attacks\[0\]: 'perturbation' is no attack; allowed: fgsm, pgd"):
        parse_suite(SUITE | {"attacks": ["perturbation"]})
    with pytest.raises(UserError, match=r"attacks\[0\].*eps"):
        parse_suite(SUITE | {"attacks": [{"pgd": {"eps": 8}}]})
    with pytest.raises(UserError, match="gives no gradient"):
        registry.build("scorer", {"attacked": {"of": "odin"}})
