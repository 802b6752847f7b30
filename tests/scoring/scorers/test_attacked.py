"""The score of an attacked input is that of the input which the attack made."""

from __future__ import annotations

import pytest
import torch

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.data.contract import toy_images
from oodbench.scoring import contract


@pytest.mark.parametrize("direction", ["raise", "lower"])
def test_an_attack_moves_the_score_where_it_is_told_to(network: Network, direction: str) -> None:
    spec = {"attacked": {"of": "energy", "by": {"fgsm": {"eps": 0.1}}, "direction": direction}}
    attacked = registry.build("scorer", spec)
    images = toy_images(40, seed=3)
    plain = contract.extracted(network, images)
    view = attacked.view()
    view.prepare(network, None, None)
    moved = contract.with_view(network, view, plain, images)
    before, after = registry.build("scorer", "energy").score(plain), attacked.score(moved)
    better = after > before if direction == "raise" else after < before
    assert float(better.float().mean()) > 0.9
    assert not attacked.edits


def test_without_a_scorer_it_is_msp_of_the_network_under_attack() -> None:
    attacked = registry.build("scorer", {"attacked": {"of": None}})
    z, worse = torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.0]])
    outputs = Outputs(z, extras={"attack.logits": worse})
    assert attacked.edits
    assert torch.equal(attacked.logits(outputs), worse)
    expected = (1 - worse.double().softmax(1).amax(1)).log()
    torch.testing.assert_close(attacked.score(outputs), expected)


def test_a_scorer_without_a_gradient_is_refused() -> None:
    for of in ("gram", "odin", "godin"):
        with pytest.raises(UserError, match=f"'{of}' gives no gradient of logits and features"):
            registry.build("scorer", {"attacked": {"of": of}})
