"""Extraction: what a network says of a set, row for row, in any batch size, and what views add."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oodbench.core.dataset import Geometry
from oodbench.core.network import Network
from oodbench.core.scorer import View
from oodbench.data.contract import toy_images
from oodbench.data.samples import TensorSamples
from oodbench.scoring.extract import extract_view, outputs_of
from oodbench.training.contract import toy_network

GEOMETRY = Geometry((1, 8, 8))
IMAGES = toy_images(50, seed=7)


def _joined(network: Network, size: int) -> dict[str, Tensor]:
    rows = [*outputs_of(network, IMAGES, GEOMETRY, size=size)]
    return {name: torch.cat([r[name] for r in rows]) for name in rows[0]}


def test_outputs_are_the_networks_whatever_the_batch_size() -> None:
    network = toy_network()
    one, other = _joined(network, 50), _joined(network, 7)
    with torch.no_grad():
        torch.testing.assert_close(one["logits"], network(IMAGES.images))
        torch.testing.assert_close(one["features"], network.features(IMAGES.images))
    for name, rows in one.items():
        torch.testing.assert_close(other[name], rows, rtol=1e-4, atol=1e-4)
    assert one["labels"].tolist() == IMAGES.labels.tolist()
    assert one["logits"].dtype == one["features"].dtype == torch.float32


def test_further_heads_are_stored_by_name() -> None:
    network = toy_network()
    network.heads["turn"] = nn.Linear(network.features(IMAGES.images).shape[1], 4)
    try:
        assert _joined(network, 50)["extras.turn"].shape == (50, 4)
    finally:
        del network.heads["turn"]


def test_dropout_is_off_and_bytes_become_fractions() -> None:
    network = toy_network()
    network.train()
    as_bytes = TensorSamples((IMAGES.images.clamp(0, 1) * 255).round().to(torch.uint8), IMAGES.labels)
    first = next(outputs_of(network, as_bytes, GEOMETRY))["logits"]
    assert not network.training
    torch.testing.assert_close(first, network(as_bytes.images.float() / 255).detach())


def test_a_views_randomness_belongs_to_the_run_and_the_place() -> None:
    class Jitter(View):
        def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
            return {"jitter": torch.rand(len(inputs), generator=rng)}

    def rows(seed: int) -> Tensor:
        found = extract_view(toy_network(), Jitter(), IMAGES, GEOMETRY, seed=seed, size=20)
        return torch.cat([r["jitter"] for r in found])

    assert torch.equal(rows(1), rows(1))
    assert not torch.equal(rows(1), rows(2))
    assert len(rows(1).unique()) == 50
