"""Every registered component keeps its contract. A new component is covered as it registers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import oodbench
from oodbench.core import registry
from oodbench.data.contract import toy_images
from oodbench.scoring import contract
from oodbench.training.contract import toy_network

registry.load_builtin()


EVERY = [(kind, name) for kind in registry.KINDS for name in registry.of_kind(kind)]


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=lambda v: v)
def test_keeps_the_contract(kind: str, name: str) -> None:
    assert contract.check(kind, name) == []


def test_every_kind_has_a_check() -> None:
    assert set(contract.CHECKS) == set(registry.KINDS)


def test_a_method_without_gradient_is_found_out() -> None:
    @oodbench.method("broken", source="this test")
    class Broken(oodbench.Method):
        """Loss of a detached network."""

        def loss(self, network: oodbench.Network, batch: oodbench.Batch) -> Tensor:
            with torch.no_grad():
                features = network.features(batch.inputs)
            return torch.nn.functional.cross_entropy(network.head(features), batch.labels)

    assert "no finite gradient reaches body" in " / ".join(contract.check("method", "broken"))


def test_the_toy_network_learns_its_classes() -> None:
    network = toy_network()
    images = toy_images(40, seed=9)
    assert float((network(images.images).argmax(dim=1) == images.labels).float().mean()) > 0.95
