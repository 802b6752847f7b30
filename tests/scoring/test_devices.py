"""A fitted scorer moves to another device whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.scorer import Scorer
from oodbench.core.spec import Spec
from oodbench.scoring.devices import on_device
from tests.scoring.plain import SETS, TRAIN, VAL, plain_scorers


def _tensors(value: object, seen: set[int]) -> list[Tensor]:
    if id(value) in seen or isinstance(value, Spec):
        return []
    seen.add(id(value))
    if isinstance(value, Tensor):
        return [value]
    named = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    inside = value if isinstance(value, (list, tuple)) else named.values()
    return [t for v in inside for t in _tensors(v, seen)]


@pytest.mark.parametrize("name", plain_scorers())
def test_a_fitted_scorer_moves_to_another_device_whole(name: str) -> None:
    """Seen on the device that computes nothing: every tensor is there, and the scorer itself stays where it
    was."""
    scorer: Scorer = registry.build("scorer", name)
    scorer.fit(TRAIN, VAL)
    before = scorer.score(SETS["test"])
    there = on_device(scorer, torch.device("meta"), {})
    assert {t.device.type for t in _tensors(there, set())} <= {"meta"}
    assert {t.device.type for t in _tensors(scorer, set())} <= {"cpu"}
    assert torch.equal(scorer.score(SETS["test"].map(lambda t: t)), before)
    assert on_device(scorer, torch.device("cpu"), {}) is scorer


def test_what_scorers_share_they_share_on_another_device() -> None:
    pair = {k: registry.build("scorer", {"knn": {"k": k}}) for k in (1, 5)}
    for scorer in pair.values():
        scorer.fit(TRAIN, None)
    moved: dict[int, object] = {}
    a, b = (on_device(s, torch.device("meta"), moved) for s in pair.values())
    assert a.bank is b.bank is not pair[1].bank
