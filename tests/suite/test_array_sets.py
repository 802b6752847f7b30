"""Sets of arrays: found by role, in order, read one at a time, and held against one another. (Every bad
folder of a user's stands in tests/whole/test_bad_arrays.py.)"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from oodbench.core.errors import MissingData, NotFinite, UserError
from oodbench.core.identity import fingerprint
from oodbench.core.method import Method
from oodbench.core.outputs import Outputs
from oodbench.suite.array_sets import ArraySets, _row_keys, sets_of_arrays
from oodbench.suite.parse import parse_suite


class InMemory(Method):
    """Ready outputs that a plugin brings: no files at all."""

    provides = "outputs"

    def __init__(self, sets: dict[str, Callable[[], Outputs]]) -> None:
        self.sets = sets

    def digest(self, name: str) -> str:
        if name not in self.sets:
            raise MissingData(name)
        return fingerprint(name)

    def outputs(self, name: str) -> Outputs:
        return self.sets[name]()


def _outputs(seed: int, n: int = 20, **parts: Any) -> Callable[[], Outputs]:
    def made() -> Outputs:
        z = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
        return Outputs(**{"logits": z, "labels": z.argmax(1)} | parts)

    return made


GOOD = {"train": _outputs(1), "val": _outputs(2), "test": _outputs(3), "a": _outputs(4), "b": _outputs(5)}


def _found(sets: dict[str, Callable[[], Outputs]], **pair: list[str]) -> ArraySets:
    (entry,) = parse_suite(
        {
            "name": "s", "pairs": [{"arrays": pair or {"near": ["a"], "far": ["b"]}}],
            "methods": [{"outputs": {"folder": "."}}], "scorers": ["msp"],
        }
    ).pairs  # fmt: skip
    return sets_of_arrays(entry, InMemory(sets), "mine")


def test_sets_have_their_roles_in_order() -> None:
    found = _found(GOOD)
    assert [(s.name, s.role) for s in found.sets.values()] == [
        ("train", "train"), ("val", "val"), ("test", "test"), ("a", "near"), ("b", "far"),
    ]  # fmt: skip
    assert set(found.held) == set(GOOD)
    assert found.held["a"] == frozenset()
    without = {k: v for k, v in GOOD.items() if k not in ("train", "val")}
    assert list(_found(without).sets) == ["test", "a", "b"]
    with pytest.raises(MissingData, match=r"^test$"):
        _found({k: v for k, v in GOOD.items() if k != "test"})


def test_what_a_set_holds_beside_logits() -> None:
    more = {"features": torch.ones(20, 2), "extras": {"godin": torch.ones(20)}}
    assert _found(GOOD | {"a": _outputs(4, **more)}).held["a"] == {"features", "extras.godin"}


def test_one_set_is_held_at_a_time() -> None:
    """However many there are, and however large."""
    alive: list[weakref.ref[Outputs]] = []
    most = 0

    def watched(make: Callable[[], Outputs]) -> Callable[[], Outputs]:
        def made() -> Outputs:
            nonlocal most
            gc.collect()
            most = max(most, sum(r() is not None for r in alive))
            outputs = make()
            alive.append(weakref.ref(outputs))
            return outputs

        return made

    _found({name: watched(make) for name, make in GOOD.items()})
    assert len(alive) == 5
    assert most <= 1


def test_an_ood_set_that_is_not_finite_is_not_refused() -> None:
    def raises() -> Outputs:
        raise NotFinite("nan")

    found = _found(GOOD | {"a": raises})
    assert "a" in found.sets
    assert "a" not in found.held
    for name in ("test", "train", "val"):
        with pytest.raises(NotFinite):
            _found(GOOD | {name: raises})
    with pytest.raises(NotFinite):
        _found(GOOD | {"b": raises}, near=["a"], shifted=["b"])


def test_a_plugins_sets_are_held_against_one_another_too() -> None:
    for name, wrong, said in (
        ("a", _outputs(4, logits=torch.randn(20, 4), labels=None), "set 'a': logits have the shape (N, 4)"),
        ("val", _outputs(2, labels=None), "set 'val': labels are missing; ID sets need them"),
        ("val", _outputs(2, labels=torch.arange(20)), "set 'val': labels should lie in 0..2, got 0..19"),
        ("b", GOOD["train"], "set 'b': every row of its logits stands in the ID set 'train' too"),
    ):
        with pytest.raises(UserError) as caught:
            _found(GOOD | {name: wrong})
        assert str(caught.value).startswith(f"method 'mine': {said}")
    assert _found(GOOD | {"b": GOOD["a"]}).sets  # two OOD sets may be alike: neither number is wrong


def test_rows_are_known_by_their_values() -> None:
    z = torch.randn(40_000, 5, generator=torch.Generator().manual_seed(0))
    keys = _row_keys(z)
    assert len(np.unique(keys)) == len(z)
    assert np.array_equal(_row_keys(z.flip(0)), keys[::-1])
    assert np.array_equal(_row_keys(z[17:18]), keys[17:18])
    assert np.array_equal(_row_keys(torch.tensor([[0.0, 1.0]])), _row_keys(torch.tensor([[-0.0, 1.0]])))
    turned = _row_keys(z[:, [1, 0, 2, 3, 4]])
    assert not np.isin(turned, keys).any()
    nearly = z.clone()
    nearly[:, 2] = torch.nextafter(z[:, 2], torch.tensor(torch.inf))
    assert not np.isin(_row_keys(nearly), keys).any()
