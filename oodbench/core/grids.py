"""Grids: a description in which ``{grid: [...]}`` stands for several values, and its variants."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from oodbench.core.errors import SpecError, shown

MOST_VARIANTS = 10_000
"""A grid of more is a mistake, and would be run for years."""


def expand(raw: Any) -> list[Any]:
    """Every variant of a description in which ``{grid: [...]}`` stands for several values, in the order
    written (last varies fastest). SpecError for more than MOST_VARIANTS."""
    count = _variants(raw)
    if count > MOST_VARIANTS:
        raise SpecError(
            [("grid", f"the grids have {shown(count)} combinations; at most {MOST_VARIANTS} are allowed")]
        )
    return _expanded(raw)


def _grid(raw: Any) -> list[Any] | None:
    """The values that a ``{grid: [...]}`` stands for; None for anything else."""
    if not isinstance(raw, Mapping) or set(raw) != {"grid"}:
        return None
    values = raw["grid"]
    if not isinstance(values, list) or not values:
        raise SpecError([("grid", f"should be a list of at least one value, got {shown(values)}")])
    return values


def _variants(raw: Any) -> int:
    """How many variants `expand` would give."""
    values = _grid(raw)
    if values is not None:
        return sum(_variants(v) for v in values)
    if isinstance(raw, (Mapping, list)):
        return math.prod(_variants(v) for v in (raw.values() if isinstance(raw, Mapping) else raw))
    return 1


def _expanded(raw: Any) -> list[Any]:
    values = _grid(raw)
    if values is not None:
        return [variant for value in values for variant in _expanded(value)]
    if isinstance(raw, Mapping):
        return [
            dict(zip(raw, chosen, strict=True))
            for chosen in itertools.product(*(_expanded(v) for v in raw.values()))
        ]
    if isinstance(raw, list):
        return [list(chosen) for chosen in itertools.product(*(_expanded(v) for v in raw))]
    return [raw]
