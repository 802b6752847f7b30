"""The pairs of a suite: by name, or written inline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo

from oodbench.core import registry
from oodbench.core.dataset import Geometry, Pair
from oodbench.core.description import SpecLike
from oodbench.core.errors import one_line, shown
from oodbench.core.identity import fingerprint
from oodbench.core.names import objection
from oodbench.core.signature import COMPONENT
from oodbench.core.spec import Spec, plain_value
from oodbench.core.usercode import Code
from oodbench.suite.entries import Dataset, Name, NamedPair, Override, Reads, folder_of, variants
from oodbench.suite.problems import Problems, validated


@dataclass(frozen=True)
class PairEntry:
    """One pair of a suite at one split: its label, its parameters without the split, and recipe keys of its
    own."""

    label: str
    pair: Pair
    params: Mapping[str, Any]
    split: int | None
    recipe: Mapping[str, Any]
    plain: Mapping[str, Any]
    """As the resolved suite file writes it."""

    @property
    def title(self) -> str:
        """The label, and the split where there is one: unique within a suite."""
        return self.label if self.split is None else f"{self.label} split {self.split}"


def _sets(raw: Any, info: ValidationInfo) -> dict[str, Spec]:
    if not isinstance(raw, (list, Mapping, type(None))):
        raise ValueError("should be a list of data sets or a mapping {name: data set}")
    named = raw.items() if isinstance(raw, Mapping) else [("", one) for one in raw or ()]
    found, made = Problems(), dict[str, Spec]()
    for i, (label, one) in enumerate(named):
        place = one_line(str(label)) or f"[{i}]"
        spec = found.tried(place, registry.resolve, "dataset", one, folder=folder_of(info))
        if spec is None:
            continue
        name = str(label) if isinstance(raw, Mapping) else spec.label
        if name in made:
            found.append((place, f"the set name {shown(name)} stands twice in the pair"))
        made[name] = spec
    found.stop()
    return made


def _geometry(raw: Any, info: ValidationInfo) -> Geometry | None:
    try:
        return pydantic.TypeAdapter(Geometry | None).validate_python(raw)
    except pydantic.ValidationError:
        raise ValueError(
            "should be {shape: [channels, height, width], resize: edge}, of integers from 1 to 65536"
        ) from None


_ONE = {COMPONENT: "dataset"}
_SEVERAL = {
    "anyOf": [{"type": "array", "items": _ONE}, {"type": "object", "additionalProperties": _ONE}],
}  # fmt: skip
Sets = Annotated[dict[str, Spec], Reads(_sets, _SEVERAL)]


class InlinePair(BaseModel):
    """A pair that a suite writes out: which data set is known, and which are near, far and shifted to it."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: Name
    id: Dataset = Field(description="the ID data set")
    near: Sets = Field({}, description="near-OOD sets: a list, or {name: data set}")
    far: Sets = Field({}, description="far-OOD sets")
    shifted: Sets = Field({}, description="ID sets under covariate shift")
    ood_val: Dataset | None = Field(None, description="OOD set that `tune: ood-val` tunes on")
    outliers: Dataset | None = Field(None, description="OOD set that some methods train on")
    geometry: Annotated[Geometry | None, Reads(_geometry, {"type": ["object", "null"]})] = Field(
        None, description="{shape: [channels, height, width], resize: edge}, where images have no one size"
    )
    recipe: Override = Field({}, description="recipe keys of this pair's own")


def pair_entries(raw: Any, folder: Path | None) -> list[PairEntry]:
    """One entry of a suite's pairs, which is several where it is a grid. Raises SpecError."""
    if isinstance(raw, Mapping) and "name" in raw:
        return [_inline(raw, folder)]
    return [_named(named, folder) for named in variants(NamedPair, "pair", raw, folder)]


def _named(named: NamedPair, folder: Path | None) -> PairEntry:
    pair: Pair = registry.build("pair", named.spec)
    _check(pair, folder)
    spec = named.spec.without("split")
    split = named.spec.params.get("split")
    return PairEntry(spec.label, pair, spec.params, split, named.recipe, named.plain)


def _inline(raw: Mapping[str, Any], folder: Path | None) -> PairEntry:
    made: InlinePair = validated(InlinePair, raw, {"folder": folder})
    pair = Pair(**{k: v for k, v in made if k not in ("name", "recipe")})
    _check(pair, folder)
    plain = {k: _written(v, getattr(made, k)) for k, v in raw.items() if k != "recipe"}
    own = {"recipe": dict(made.recipe)} if made.recipe else {}
    return PairEntry(made.name, pair, {}, None, made.recipe, plain | own)


def _written(raw: Any, made: Any) -> Any:
    """A key of a pair as the suite wrote it; a data set that names files as it is resolved, since their paths
    start from the suite's folder, and the resolved suite lies in another."""
    if isinstance(made, Spec):
        return made.plain if _names_files(made) else plain_value(raw)
    if isinstance(raw, list) and isinstance(made, Mapping):
        return [_written(one, spec) for one, spec in zip(raw, made.values(), strict=True)]
    if isinstance(raw, Mapping) and isinstance(made, Mapping):
        return {str(k): _written(v, made[str(k)]) for k, v in raw.items()}
    return plain_value(raw)


def _names_files(value: Any) -> bool:
    """Whether a path or code stands anywhere in a parameter."""
    if isinstance(value, Spec):
        value = value.params
    if isinstance(value, Mapping):
        return any(map(_names_files, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_names_files, value))
    return isinstance(value, (Path, Code))


def _check(pair: Pair, folder: Path | None) -> None:
    """Every data set of a pair resolves, no OOD set is the ID set, and outliers for training are no OOD
    set."""
    _wrong_names(pair).stop()
    if pair.id is None:
        return
    found = Problems()
    resolved: dict[str, Spec | None] = {
        path: found.tried(path, registry.resolve, "dataset", raw, folder=folder)
        for path, raw in _places(pair)
    }
    places = {path: fingerprint(plain_value(spec)) for path, spec in resolved.items() if spec is not None}
    ood = {path: key for path, key in places.items() if path.startswith(("near.", "far."))}
    for path, key in ood.items():
        first = next(p for p, k in ood.items() if k == key)
        if first != path:
            found.append((path, f"is the data set of {first} again; name it once"))
        if key == places.get("id"):
            label = resolved["id"].label  # type: ignore[union-attr]
            found.append((path, f"the OOD set is the ID set ({label}); name another data set"))
        if key == places.get("outliers"):
            name = path.partition(".")[2]
            found.append(
                ("outliers", f"the outliers for training are the OOD set {name!r}; name another data set")
            )
    found.stop()


ROLES = frozenset((
    "train", "val", "test", "head", "outliers", "ood_val", "ood-val", "id", "tune", "clean", "full",
))  # fmt: skip
"""What a pair's own sets, the files of arrays and the conditions in rows are called."""


def _wrong_names(pair: Pair) -> Problems:
    """What is wrong with the names of a pair's sets: they stand beside those of the ID's own in rows, folders
    and arrays."""
    found = Problems()
    names = [*pair.near, *pair.far, *pair.shifted]
    for name in dict.fromkeys(names):
        if why := objection(name) or _no_name(name, is_file=pair.id is None):
            found.append(("", f"the set name {shown(name)} {why}"))
        if names.count(name) > 1:
            found.append(("", f"the set name {shown(name)} stands twice in the pair"))
    if not pair.near and not pair.far:
        found.append(("near", "a pair needs at least one near- or far-OOD set"))
    return found


def _no_name(name: str, is_file: bool) -> str:
    """Why a text cannot name a set of a pair; empty where it can."""
    parts = re.split(r"[/\\]", name)
    if not name:
        return "is empty"
    if name.lower() in ROLES or name.lower().startswith("tune:"):
        return "is a role of the pair's own sets; give it another name"
    if parts[0] in ("", "~") or any(p in (".", "..") for p in parts) or (is_file and len(parts) > 1):
        return "is a path; give it a name"
    return ""


def _places(pair: Pair) -> Iterator[tuple[str, SpecLike]]:
    """(key path, data set) of everything that a pair names."""
    for role in ("id", "ood_val", "outliers"):
        if getattr(pair, role) is not None:
            yield role, getattr(pair, role)
    for role in ("near", "far", "shifted"):
        for name, raw in getattr(pair, role).items():
            yield f"{role}.{name}", raw
