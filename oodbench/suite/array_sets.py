"""The sets of a run whose outputs are the user's arrays: found, named by role, identified by content, and
held against one another before anything is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from oodbench.core.errors import MissingData, NotFinite, UserError
from oodbench.core.method import Method
from oodbench.core.outputs import Outputs
from oodbench.scoring.one_network import OneNetwork, off_its_head
from oodbench.suite.pairs import PairEntry
from oodbench.suite.sets import OOD_SHIFTS, SetPlan


class ArraySets(NamedTuple):
    """The sets by name, and what each holds beside logits: ``features``, ``head`` and ``extras.<name>``. What
    a set holds whose values are not finite nobody knows: it is not among `held`."""

    sets: dict[str, SetPlan]
    held: Mapping[str, frozenset[str]]


def sets_of_arrays(entry: PairEntry, method: Method, label: str) -> ArraySets:
    """The sets of a pair that a method of ready outputs brings: test and the OOD sets must be there, train
    and val may be.

    Each set is read once and let go before the next. Raises UserError, one line, for the first set
    that is wrong by itself or does not fit those before it, or that is called OOD and is a part of an ID set.
    An OOD set whose only fault are values that are not finite is not refused: it will cost its own rows."""
    sets = _found(entry, method)
    held: dict[str, frozenset[str]] = {}
    network, known = OneNetwork(), dict[str, NDArray[np.uint64]]()
    off = ""  # said last: where a set is another network's, its head is off as well
    for plan in sorted(sets.values(), key=lambda s: (s.role in OOD_SHIFTS, s.name != "test")):
        ood = plan.role in OOD_SHIFTS
        try:
            outputs = method.outputs(plan.name)
        except NotFinite:
            if ood:
                continue
            raise
        wrong = network.objection(f"set {plan.name!r}", outputs)
        rows = _row_keys(outputs.logits)
        if ood:
            wrong = wrong or _part_of(rows, known)
        else:
            known[plan.name] = rows
            wrong = wrong or _wrong_labels(outputs)
        whose = f"method {label!r}: set {plan.name!r}"
        if wrong:
            raise UserError(f"{whose}: {wrong}")
        wrong = "" if off else off_its_head(outputs)
        off = f"{whose}: {wrong}" if wrong else off
        held[plan.name] = frozenset(_holds(outputs))
    if off:
        raise UserError(off)
    return ArraySets(sets, held)


def _found(entry: PairEntry, method: Method) -> dict[str, SetPlan]:
    sets: dict[str, SetPlan] = {}
    roles = [(role, role) for role in ("train", "val", "test")]
    roles += [(name, role) for role in (*OOD_SHIFTS, "shifted") for name in getattr(entry.pair, role)]
    for name, role in roles:
        try:
            sets[name] = SetPlan(name, role, method.digest(name), None)
        except MissingData:
            if name not in ("train", "val"):
                raise
    return sets


def _holds(outputs: Outputs) -> Iterator[str]:
    if outputs.has_features:
        yield "features"
    if outputs.head is not None:
        yield "head"
    yield from (f"extras.{name}" for name in outputs.extras)


def _wrong_labels(outputs: Outputs) -> str:
    """Labels of an ID set are those of its classes."""
    low, high = (int(x) for x in outputs.labels.aminmax())
    if low >= 0 and high < outputs.classes:
        return ""
    if low == high == -1:
        return "labels are missing; ID sets need them"
    return f"labels should lie in 0..{outputs.classes - 1}, got {low}..{high}"


_VALUES = 1 << 22
"""So many logits are worked on at a time."""


def _row_keys(logits: Tensor) -> NDArray[np.uint64]:
    """A number for each row of logits (N, C): the same for the same values, and for others another (but for
    one pair in 2^64). It stands for the row when the logits are let go."""
    factors = np.random.default_rng(0).integers(1, 2**63, logits.shape[1], dtype=np.uint64) | np.uint64(1)
    keys = np.empty(len(logits), np.uint64)
    rows = max(1, _VALUES // logits.shape[1])
    for start in range(0, len(logits), rows):
        block = logits[start : start + rows].float() + 0.0  # -0 is 0
        bits: NDArray[Any] = np.ascontiguousarray(block.numpy()).view(np.uint32).astype(np.uint64)
        bits *= np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(29))) * factors
        keys[start : start + rows] = bits.sum(axis=1, dtype=np.uint64)
    return keys


def _part_of(rows: NDArray[np.uint64], known: Mapping[str, NDArray[np.uint64]]) -> str:
    for name, others in known.items():
        if bool(np.isin(rows, others).all()):
            return f"every row of its logits stands in the ID set {name!r} too; give outputs of OOD samples"
    return ""
