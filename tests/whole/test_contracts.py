"""Every registered component keeps its contract, and the contract notices one that does not. A new component
is covered as it registers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import oodbench
from oodbench.core import registry
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.data.contract import toy_images
from oodbench.scoring import contract
from oodbench.training.contract import toy_network

registry.load_builtin()
EVERY = [(kind, name) for kind in registry.KINDS for name in registry.of_kind(kind)]


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=lambda v: v)
def test_keeps_the_contract(kind: str, name: str) -> None:
    assert contract.check(kind, name) == []


def test_every_kind_has_a_check() -> None:
    assert set(contract._CHECKS) == set(registry.KINDS)


def _scorer(score: Callable[[Outputs], Tensor], **attributes: object) -> str:
    made = type("Broken", (Scorer,), {"__doc__": "Broken.", "score": lambda self, o: score(o), **attributes})
    oodbench.scorer("broken", source="this test")(made)
    return " / ".join(contract.check("scorer", "broken"))


@pytest.mark.parametrize(
    ("score", "complaint"),
    [
        (lambda o: o.logits.amax(dim=1), "AUROC 0.0"),
        (lambda o: -o.logits, "is due"),
        (lambda o: -o.logits.amax(dim=1) / 0, "not finite"),
        (lambda o: -o.logits.amax(dim=1) + torch.rand(len(o)), "other scores the second time"),
        (lambda o: -o.logits.amax(dim=1) + o.logits.sum() / 100, "differently when other samples"),
        (lambda o: -o.logits.detach().amax(dim=1), "passes no gradient"),
        (lambda o: -o.logits.mul_(2).amax(dim=1), "changes its inputs"),
        (lambda o: o.nothing, "raised AttributeError"),
    ],
)  # fmt: skip
def test_a_broken_scorer_is_found_out(score: Callable[[Outputs], Tensor], complaint: str) -> None:
    assert complaint in _scorer(score)


def test_a_method_without_gradient_is_found_out() -> None:
    @oodbench.method("broken", source="this test")
    class Broken(oodbench.Method):
        """Loss of a detached network."""

        def loss(self, network: oodbench.Network, batch: oodbench.Batch) -> Tensor:
            with torch.no_grad():
                features = network.features(batch.inputs)
            return torch.nn.functional.cross_entropy(network.head(features), batch.labels)

    assert "no finite gradient reaches body" in " / ".join(contract.check("method", "broken"))


def test_toy_outputs_are_those_of_their_head() -> None:
    outputs = contract.toy_outputs()
    assert outputs.head is not None
    torch.testing.assert_close(outputs.head(outputs.features), outputs.logits)
    assert float((outputs.predictions == outputs.labels).float().mean()) > 0.99


def test_the_toy_network_learns_its_classes() -> None:
    network = toy_network()
    images = toy_images(40, seed=9)
    assert float((network(images.images).argmax(dim=1) == images.labels).float().mean()) > 0.95
