"""A component with every parameter written out: a label for people, an identity for keys."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import SpecError
from oodbench.core.identity import file_sha256, fingerprint
from oodbench.core.usercode import Code

if TYPE_CHECKING:
    from oodbench.core.signature import Component

SpecLike = Any
"""A component as a suite file writes it: its name, or ``{name: {parameter: value}}`` (or a `registry.Spec`,
already resolved)."""


@dataclass(frozen=True)
class Spec:
    """A component with all its parameters, defaults written out. `alias` is the suite's `as:`."""

    component: Component
    params: Mapping[str, Any]
    alias: str = ""

    @property
    def kind(self) -> str:
        return self.component.kind

    @property
    def name(self) -> str:
        return self.component.name

    @property
    def label(self) -> str:
        """The alias, or the name plus the parameters that differ from their defaults: ``als(lam=10)``."""
        if self.alias:
            return self.alias
        defaults = self.component.defaults
        changed = [
            f"{k}={short_text(v)}"
            for k, v in self.params.items()
            if k not in defaults or plain_value(defaults[k]) != plain_value(v)
        ]
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    @property
    def plain(self) -> dict[str, Any]:
        """As a suite file could write it, every parameter spelled out."""
        return {self.name: {k: plain_value(v) for k, v in self.params.items()}}

    @property
    def identity(self) -> dict[str, Any]:
        """What keys are made of: name, version, parameters (files by content), and for code that is not ours
        its sha256."""
        c = self.component
        identity = {
            "name": self.name,
            "version": c.version,
            "params": {k: identity_value(v) for k, v in self.params.items()},
        }
        return identity | ({"code": c.code} if c.code else {})

    @property
    def identity_key(self) -> str:
        """The identity as one string, for look-ups."""
        return fingerprint(self.identity)

    def without(self, *names: str) -> Spec:
        """The same component with some parameters left out, for labels and columns that stand beside them."""
        return Spec(self.component, {k: v for k, v in self.params.items() if k not in names}, self.alias)


_built: dict[int, Spec] = {}


def remember(made: object, spec: Spec) -> None:
    """`made` was built from `spec`; forgotten when `made` is no more."""
    _built[id(made)] = spec
    weakref.finalize(made, _built.pop, id(made), None)


def spec_of(made: object) -> Spec:
    """What a component was built from. LookupError for an object that the registry did not build."""
    return _built[id(made)]


def label_of(made: object) -> str:
    """The label of what it was built from; of what the registry did not build, the name of its class."""
    spec = _built.get(id(made))
    return spec.label if spec else type(made).__name__


def _walk(value: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _walk(v, leaf) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_walk(v, leaf) for v in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return leaf(value)


def plain_value(value: Any) -> Any:
    """A parameter as YAML would hold it: components as their plain form, paths and code as text."""
    return _walk(
        value, lambda v: v.plain if isinstance(v, Spec) else str(v) if isinstance(v, (Path, Code)) else v
    )


def identity_value(value: Any) -> Any:
    """A path is never identity, what it holds is: a file by its sha256; a folder's content enters by other
    ways (data digests)."""

    def leaf(v: Any) -> Any:
        if isinstance(v, (Spec, Code)):
            return v.identity
        if isinstance(v, Path):
            return {"sha256": file_sha256(v)} if v.is_file() else {"folder": True}
        if isinstance(v, float) and v.is_integer():
            return int(v)  # 50 and 50.0 are one value
        return v

    return _walk(value, leaf)


def short_text(value: Any) -> str:
    """A parameter's value as a label shows it."""
    if isinstance(value, Spec):
        return value.label
    if isinstance(value, Code):
        return value.rpartition("/")[2]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Path):
        return value.name
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(short_text, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{short_text(v)}" for k, v in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def expand(raw: Any) -> list[Any]:
    """Every variant of a description in which ``{grid: [...]}`` stands for several values, in the order
    written (last varies fastest)."""
    if isinstance(raw, Mapping):
        if set(raw) == {"grid"}:
            values = raw["grid"]
            if not isinstance(values, list) or not values:
                raise SpecError([("grid", f"should be a list of at least one value, got {values!r}")])
            return [variant for value in values for variant in expand(value)]
        return [
            dict(zip(raw, values, strict=True))
            for values in itertools.product(*(expand(v) for v in raw.values()))
        ]
    if isinstance(raw, list):
        return [list(values) for values in itertools.product(*(expand(v) for v in raw))]
    return [raw]
