"""Grids: their variants in order, and how many there may be."""

from __future__ import annotations

import pytest

from oodbench.core.errors import SpecError
from oodbench.core.grids import MOST_VARIANTS, expand


def test_grids_expand_in_order_and_nest() -> None:
    raw = {"m": {"a": {"grid": [1, 2]}, "of": {"n": {"b": {"grid": [3, 4]}}}}}
    assert expand(raw) == [{"m": {"a": a, "of": {"n": {"b": b}}}} for a in (1, 2) for b in (3, 4)]
    assert expand("m") == ["m"]
    with pytest.raises(SpecError, match="at least one"):
        expand({"m": {"a": {"grid": []}}})


def test_a_grid_of_too_many_is_refused_before_it_is_made() -> None:
    values = {"grid": list(range(100))}
    assert len(expand({"a": values, "b": values})) == 10_000 == MOST_VARIANTS
    with pytest.raises(SpecError, match="1000000 combinations; at most 10000"):
        expand({"a": values, "b": [values, values]})
