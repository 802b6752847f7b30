"""The pairs of a suite: by name, or written inline."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from oodbench.core import registry
from oodbench.core.dataset import Geometry, Pair
from oodbench.core.errors import SpecError, meant
from oodbench.core.spec import expand, plain_value
from oodbench.suite.problems import T, _Problems
from oodbench.suite.suite import PairEntry
from oodbench.training.recipe import recipe_keys

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


_INLINE = ("name", "id", "near", "far", "shifted", "ood_val", "outliers", "geometry", "recipe")


def _within(path: str, make: Callable[..., T], *args: Any) -> T:
    """The same, with its mistakes placed at `path`."""
    found = _Problems()
    made = found.tried(path, make, *args)
    if made is None:
        raise SpecError(found)
    return made


def _pairs(entry: Any, folder: Path | None) -> list[PairEntry]:
    recipe: Mapping[str, Any] = {}
    if isinstance(entry, Mapping) and "name" in entry:
        return [_inline_pair(entry, folder)]
    alias = ""
    if isinstance(entry, Mapping):
        recipe, alias = entry.get("recipe", {}), entry.get("as", "")
        entry = {k: v for k, v in entry.items() if k not in ("recipe", "as")}
        recipe = _within("recipe", recipe_keys, recipe)
    made = []
    for variant in expand(entry):
        spec = registry.resolve("pair", variant, alias=alias, folder=folder)
        pair: Pair = registry.build("pair", spec)
        _check_pair(pair, folder)
        split = spec.params.get("split")
        raw = spec.plain | ({"as": alias} if alias else {})
        made.append(
            PairEntry(spec.without("split").label, pair, spec.without("split").params, split, recipe, raw)
        )
    return made


def _inline_pair(entry: Mapping[str, Any], folder: Path | None) -> PairEntry:
    found = _Problems()
    for key in entry:
        if key not in _INLINE:
            found.append((str(key), f"unknown key{meant(str(key), _INLINE)}"))
    name = entry["name"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        found.append(("name", f"should be letters, digits and . _ + - only, got {name!r}"))
    if "id" not in entry:
        found.append(("id", "is missing: the ID data set"))
    if not entry.get("near") and not entry.get("far"):
        found.append(("near", "a pair needs at least one near- or far-OOD set"))
    sets: dict[str, dict[str, Any]] = {}
    for role in ("near", "far", "shifted"):
        sets[role] = {}
        value = entry.get(role) or []
        if not isinstance(value, (list, Mapping)):
            found.append(
                (role, f"should be a list of data sets or a mapping {{name: data set}}, got {value!r}")
            )
            continue
        for i, item in enumerate(value.items() if isinstance(value, Mapping) else value):
            label, raw = item if isinstance(value, Mapping) else ("", item)
            spec = found.tried(f"{role}[{i}]", registry.resolve, "dataset", raw, folder=folder)
            if spec is not None:
                sets[role][str(label or spec.label)] = spec
    single = {
        key: found.tried(key, registry.resolve, "dataset", entry[key], folder=folder)
        for key in ("id", "ood_val", "outliers") if entry.get(key) is not None
    }  # fmt: skip
    geometry = entry.get("geometry")
    if geometry is not None:
        model = pydantic.TypeAdapter(Geometry)
        try:
            geometry = model.validate_python(
                tuple(geometry.values()) if isinstance(geometry, Mapping) else geometry
            )
        except pydantic.ValidationError:
            found.append(
                (
                    "geometry",
                    f"should be {{shape: [channels, height, width], resize: edge}}, got {geometry!r}",
                )
            )
    recipe = found.tried("recipe", recipe_keys, entry.get("recipe", {})) or {}
    if found:
        raise SpecError(found)
    pair = Pair(
        single["id"],
        sets["near"],
        sets["far"],
        sets["shifted"],
        single.get("ood_val"),
        single.get("outliers"),
        geometry,
    )  # type: ignore[arg-type]
    _check_pair(pair, folder)
    raw = plain_value({k: v for k, v in entry.items() if k != "recipe"})
    return PairEntry(name, pair, {}, None, recipe, raw)


def _check_pair(pair: Pair, folder: Path | None) -> None:
    """Every data set of a pair resolves, no OOD set is the ID set, and outliers for training are no OOD
    set."""
    if pair.id is None:
        return
    found = _Problems()
    tested: dict[str, str] = {}
    known = found.tried("id", registry.resolve, "dataset", pair.id, folder=folder)
    names = [*pair.near, *pair.far, *pair.shifted]
    for name in sorted({n for n in names if names.count(n) > 1}):
        found.append(("", f"the set name {name!r} stands twice in the pair"))
    for role, group in (("near", pair.near), ("far", pair.far), ("shifted", pair.shifted)):
        for name, raw in group.items():
            spec = found.tried(f"{role}.{name}", registry.resolve, "dataset", raw, folder=folder)
            if (
                spec is not None
                and known is not None
                and role != "shifted"
                and spec.identity == known.identity
            ):
                found.append(
                    (f"{role}.{name}", f"the OOD set is the ID set ({known.label}); name another data set")
                )
            if spec is not None and role != "shifted":
                tested[spec.identity_key] = name
    for role in ("ood_val", "outliers"):
        raw = getattr(pair, role)
        if raw is not None:
            spec = found.tried(role, registry.resolve, "dataset", raw, folder=folder)
            if role == "outliers" and spec is not None and spec.identity_key in tested:
                found.append(
                    (
                        role,
                        (
                            f"the outliers for training are the OOD set {tested[spec.identity_key]!r}; name"
                            " another data set"
                        ),
                    )
                )
    if found:
        raise SpecError(found)
