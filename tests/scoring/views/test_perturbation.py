"""Inputs one small step away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from oodbench import build
from oodbench.core.errors import UserError
from oodbench.core.method import Method
from oodbench.core.network import Network, Task
from oodbench.data.contract import toy_images
from oodbench.training.initialise import fresh_weights
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


UNEVEN = (0.1, 0.25, 0.5)
"""Deviations of the channels, which differ."""


@pytest.fixture
def colours() -> tuple[Network, Tensor]:
    """A network of colour images, and some of them in [0, 1]."""
    task = Task("image", (3, 8, 8), 4, (0.4, 0.5, 0.3), UNEVEN)
    return fresh_weights("small-cnn", Method(), task, seed=0).eval(), toy_images(6, (3, 8, 8)).images


def gradients(network: Network, x: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Of a function of the network's logits, each image by itself, to inputs in [0, 1]."""
    found = []
    for one in x.split(1):
        one = one.clone().requires_grad_()
        found.append(torch.autograd.grad(score(network(one)).sum(), one)[0])
    return torch.cat(found)


def test_odin_steps_in_the_unit_of_images(colours: tuple[Network, Tensor]) -> None:
    """As its authors do: epsilon in [0, 1], and so epsilon / std in normalised inputs, whatever std is."""
    network, x = colours
    found = build("view", {"perturbation": {"temperature": 10.0, "epsilon": 0.01}})(network, x, rng())
    slope = gradients(network, x, lambda z: torch.log_softmax(z / 10, dim=1).amax(dim=1))
    moved = (x - network.mean) / network.std + 0.01 * slope.sign() / torch.tensor(UNEVEN).view(3, 1, 1)
    torch.testing.assert_close(
        found["perturbation.logits"], network.head(network.body(moved)), rtol=1e-4, atol=1e-5
    )


def test_a_perturbed_score_steps_in_the_unit_of_images(colours: tuple[Network, Tensor]) -> None:
    network, x = colours
    view = build("view", {"score-perturbation": {"of": "energy", "epsilon": 0.01}})
    view.prepare(network, None, None)
    slope = gradients(network, x, lambda z: torch.logsumexp(z, dim=1))
    expected = -torch.logsumexp(network(x + 0.01 * slope.sign()), dim=1)
    torch.testing.assert_close(
        view(network, x, rng())["score-perturbation.score"], expected, rtol=1e-4, atol=1e-5
    )
    assert all(p.grad is None for p in network.parameters())


def test_what_cannot_be_perturbed_is_refused(network: Network) -> None:
    with pytest.raises(UserError, match="gives no gradient"):
        build("scorer", {"mds-odin": {"of": "odin"}})
    with pytest.raises(UserError, match="train set, and there is none"):
        build("view", "score-perturbation").prepare(network, None, None)


def test_weak_pixels_are_those_of_the_smallest_gradient_of_normalised_inputs(
    colours: tuple[Network, Tensor],
) -> None:
    """AdaSCALE's code knows only normalised inputs: it ranks the gradients to those, and steps in them."""
    network, x = colours
    found = build("view", {"weak-pixels": {"share": 0.1, "step": 0.25}})(network, x, rng())
    normalised = ((x - network.mean) / network.std).requires_grad_()
    network.head(network.body(normalised)).amax(dim=1).sum().backward()
    assert normalised.grad is not None
    moved = normalised.detach().clone().flatten(1)
    for row, slope in zip(moved, normalised.grad.flatten(1), strict=True):
        weakest = slope.abs().argsort()[: int(192 * 0.1)]
        row[weakest] += 0.25 * slope[weakest].sign()
    expected = network.body(moved.view_as(x))
    torch.testing.assert_close(found["weak-pixels.features"], expected, rtol=1e-4, atol=1e-5)
