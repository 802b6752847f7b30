"""What data a suite needs, down to the sets that lie on a disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from oodbench.core import registry
from oodbench.core.dataset import Dataset, Pair
from oodbench.core.description import SpecLike
from oodbench.core.identity import fingerprint
from oodbench.core.spec import Spec, plain_value


class Need(NamedTuple):
    """One split of one data set, and what it is needed for: ``train``, ``near: cifar100``, ``outliers`` (not
    every run needs those)."""

    role: str
    spec: Spec
    split: str


def key_of(spec: Spec) -> str:
    """A data set as one string: the same for the same parameters, whatever lies on the disk."""
    return fingerprint(plain_value(spec.plain))


def opened(spec: Spec, cache: dict[str, Dataset]) -> Dataset:
    """The data set, built once for all who share `cache`."""
    key = key_of(spec)
    if key not in cache:
        cache[key] = registry.build("dataset", spec)
    return cache[key]


def of_pair(pair: Pair) -> list[Need]:
    """Every set of a pair with the split that its role reads."""
    if pair.id is None:
        return []
    known = registry.resolve("dataset", pair.id)
    found = [Need(s, known, s) for s in ("train", "val", "test") if s in registry.build("dataset", known)]
    for shift in ("near", "far", "shifted"):
        found += [
            Need(f"{shift}: {n}", registry.resolve("dataset", raw), "test")
            for n, raw in getattr(pair, shift).items()
        ]
    for role, raw, split in (("OOD validation", pair.ood_val, "val"), ("outliers", pair.outliers, "train")):
        if raw is not None:
            found.append(Need(role, registry.resolve("dataset", raw), split))
    return found


def needs_of_set(spec: SpecLike) -> list[Need]:
    """Every split of one data set."""
    resolved = registry.resolve("dataset", spec)
    return [Need(s, resolved, s) for s in registry.build("dataset", resolved).splits]


def leaves(spec: Spec) -> list[Spec]:
    """The data sets that a data set is made from, itself if it is made from none."""
    inner = [s for value in spec.params.values() for s in _specs(value)]
    return [leaf for s in inner for leaf in leaves(s)] or [spec]


def of_leaves(wanted: Sequence[Need]) -> list[Need]:
    """The same needs of the sets that lie on disk, each set, split and role once."""
    found = [Need(n.role, leaf, n.split) for n in wanted for leaf in leaves(n.spec)]
    return list({(key_of(n.spec), n.split, n.role): n for n in found}.values())


def _specs(value: Any) -> list[Spec]:
    if isinstance(value, Spec):
        return [value] if value.kind == "dataset" else []
    if isinstance(value, Mapping):
        return [s for v in value.values() for s in _specs(v)]
    return [s for v in value for s in _specs(v)] if isinstance(value, (list, tuple)) else []


def every_set() -> list[Need]:
    """The test split of every registered data set that needs no parameter."""
    found = []
    for name in registry.datasets:
        model = registry.datasets[name].model
        if not any(f.is_required() for f in model.model_fields.values()):
            found.append(Need("test", registry.resolve("dataset", name), "test"))
    return found
