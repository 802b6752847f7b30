"""The contract of scorers and views notices what breaks it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import oodbench
from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer, View
from oodbench.scoring import contract

registry.load_builtin()


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


def test_toy_outputs_are_those_of_their_head() -> None:
    outputs = contract.toy_outputs()
    assert outputs.head is not None
    torch.testing.assert_close(outputs.head(outputs.features), outputs.logits)
    assert float((outputs.predictions == outputs.labels).float().mean()) > 0.99


def _view(**parts: object) -> str:
    def adds(self: View, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        return {"t.mean": inputs.flatten(1).mean(dim=1, keepdim=True)}

    made = type("Broken", (View,), {"__doc__": "Broken.", "__call__": adds, **parts})
    oodbench.view("t-broken", source="this test")(made)
    return " / ".join(contract.check("view", "t-broken"))


def _changes(self: View, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
    inputs.mul_(0.5)
    with torch.no_grad():
        network.get_parameter("head.weight").mul_(0.5)
    return {"t.mean": torch.rand(len(inputs) - 1, 1)}


@pytest.mark.parametrize(
    ("parts", "complaints"),
    [
        ({}, []),
        ({"__call__": lambda *_: {}}, ["adds no extra"]),
        ({"__call__": _changes}, ["changes its inputs", "changes the network", "has 7 rows for 8 inputs"]),
        ({"__call__": lambda self, n, x, _: {"t": torch.rand(len(x))}}, ["differs with the same generator"]),
        ({"__call__": lambda self, n, x, rng: n.train() and {"t": x}}, ["changes the network"]),
    ],
)  # fmt: skip
def test_a_broken_view_is_found_out(parts: dict[str, object], complaints: list[str]) -> None:
    found = _view(**parts)
    assert (found == "") == (not complaints)
    for complaint in complaints:
        assert complaint in found


def test_what_is_registered_without_words_is_found_out() -> None:
    oodbench.scorer("t-silent")(
        type("Silent", (Scorer,), {"__doc__": None, "score": lambda self, o: -o.logits.amax(1)})
    )
    found = contract.check("scorer", "t-silent")
    assert "gives no source" in found[0]
    with pytest.raises(UserError, match="unknown kind"):
        contract.check("scorers", "msp")


def test_required_components_are_filled_in() -> None:
    spec = contract.example("method", "ensemble")
    assert spec is not None
    assert spec.params["of"].name == "cross-entropy"
    assert contract.example("dataset", "folder") is None
