"""Inputs one small step away."""

from __future__ import annotations

import pytest
import torch

from oodbench import build
from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.data.contract import toy_images
from tests.scoring.seen import looked, rng


def test_the_perturbation_makes_the_score_smaller(network: Network) -> None:
    scorer = build("scorer", {"mds-odin": {"epsilon": 0.002}})
    train, val, test = looked(network, scorer)
    plain = build("scorer", "mds")
    plain.fit(train, val)
    assert float((scorer.score(test) < plain.score(test)).float().mean()) > 0.9
    still = build("scorer", {"mds-odin": {"epsilon": 0.0}})
    torch.testing.assert_close(
        still.score(looked(network, still)[2]).double(), plain.score(test), rtol=1e-3, atol=1e-3
    )


def test_the_perturbed_input_is_one_signed_step(network: Network) -> None:
    x = toy_images(4).images
    view = build("view", {"score-perturbation": {"of": "energy", "epsilon": 0.01}})
    view.prepare(network, None, None)
    moved = x.clone()
    for i in range(4):
        one = x[i : i + 1].clone().requires_grad_()
        (-torch.logsumexp(network(one), dim=1)).sum().backward()
        assert one.grad is not None
        moved[i] -= 0.01 * (network.std * one.grad.sign())[0]
    expected = -torch.logsumexp(network(moved), dim=1)
    torch.testing.assert_close(
        view(network, x, rng())["score-perturbation.score"], expected, rtol=1e-4, atol=1e-4
    )
    assert all(p.grad is None or not p.requires_grad or p.grad.isfinite().all() for p in network.parameters())


def test_what_cannot_be_perturbed_is_refused(network: Network) -> None:
    with pytest.raises(UserError, match="gives no gradient"):
        build("scorer", {"mds-odin": {"of": "odin"}})
    with pytest.raises(UserError, match="train set, and there is none"):
        build("view", "score-perturbation").prepare(network, None, None)


def test_weak_pixels_are_those_of_the_smallest_gradient(network: Network) -> None:
    x = toy_images(3).images
    found = build("view", {"weak-pixels": {"share": 0.1, "step": 0.25}})(network, x, rng())[
        "weak-pixels.features"
    ]
    moved = x.clone()
    for i in range(3):
        one = x[i : i + 1].clone().requires_grad_()
        network(one).max().backward()
        assert one.grad is not None
        gradient = one.grad.flatten()
        weakest = gradient.abs().argsort()[: int(64 * 0.1)]
        moved.view(3, -1)[i, weakest] += 0.25 * float(network.std) * gradient[weakest].sign()
    torch.testing.assert_close(found, network.features(moved), rtol=1e-4, atol=1e-4)
