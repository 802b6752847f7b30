"""A registered component, and one with every parameter written out: a label for people, a key's identity."""

from __future__ import annotations

import inspect
import typing
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, ConfigDict

from oodbench.core.errors import SpecError, UserError, reason_of, shown
from oodbench.core.identity import canonical, content_sha256, text_sha256
from oodbench.core.signature import annotation, problems_of, type_text
from oodbench.core.usercode import Code, code_of


class Component:
    """A registered class or function, with the pydantic model that its signature describes.

    `resolve(kind, raw, folder=)` makes a Spec of a component nested among the parameters; the registry hands
    it in."""

    def __init__(
        self,
        kind: str,
        name: str,
        target: Callable[..., Any],
        source: str,
        version: int,
        resolve: Callable[..., Spec],
    ) -> None:
        self.kind, self.name, self.target, self.source, self.version = kind, name, target, source, version
        self._resolve = resolve
        self.own_input: Callable[[Mapping[str, Any]], Any] | None = None
        doc = inspect.getdoc(target) or ""
        self.summary = doc.strip().split("\n\n")[0].replace("\n", " ")
        self.code = code_of(target)
        function = target.__init__ if inspect.isclass(target) else target  # type: ignore[misc]
        own = function is not object.__init__
        self._hints = typing.get_type_hints(function, include_extras=True) if own else {}
        self._keywords = {
            p.name: p
            for p in (inspect.signature(function).parameters.values() if own else ())
            if p.kind is p.KEYWORD_ONLY
        }
        untyped = [p for p in self._keywords if p not in self._hints]
        if untyped:
            raise UserError(
                f"{kind} {name!r}: parameter {untyped[0]!r} has no type; every configuration parameter"
                " needs one"
            )
        self._model: type[BaseModel] | None = None

    @property
    def model(self) -> type[BaseModel]:
        if self._model is None:
            fields: dict[str, Any] = {
                p.name: (annotation(self._hints[p.name]), ... if p.default is p.empty else p.default)
                for p in self._keywords.values()
            }
            config = ConfigDict(
                extra="forbid", arbitrary_types_allowed=True, validate_default=True, protected_namespaces=()
            )
            self._model = pydantic.create_model(self.name, __config__=config, **fields)
        return self._model

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Default values as validation returns them, of the parameters that have one."""
        given: dict[str, Any] = {}
        for name, field in self.model.model_fields.items():
            if not field.is_required():
                try:
                    given[name] = getattr(
                        self.model.__pydantic_validator__.validate_assignment(
                            self.model.model_construct(),
                            name,
                            field.default,
                            context={"resolve": self._resolve},
                        ),
                        name,
                    )
                except pydantic.ValidationError:
                    given[name] = field.default
        return given

    @property
    def signature(self) -> list[tuple[str, str, str]]:
        """(parameter, type, default) as text, for listings."""
        rows = []
        for p in self._keywords.values():
            rows.append(
                (
                    p.name,
                    type_text(self._hints[p.name]),
                    "required" if p.default is p.empty else short_text(p.default),
                )
            )
        return rows

    def resolve(self, params: Any, *, alias: str = "", folder: Path | None = None) -> Spec:
        if params is None:
            params = {}
        if not isinstance(params, Mapping):
            raise SpecError(
                [(self.name, f"parameters should be a mapping {{name: value}}, got {shown(params)}")]
            )
        try:
            model = self.model.model_validate(
                dict(params), context={"folder": folder, "resolve": self._resolve}
            )
        except pydantic.ValidationError as error:
            raise SpecError(problems_of(error, self.name, list(self.model.model_fields))) from None
        except UserError:
            raise
        except Exception as error:  # a validator may be a user's, and raise what pydantic does not expect
            raise SpecError([(self.name, reason_of(error))]) from error
        return Spec(self, {k: getattr(model, k) for k in self.model.model_fields}, alias)


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

    @cached_property
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
        its sha256. Not to be changed: it is made once where no file is part of it."""
        return self._identity() if self._names_files else self._fixed[0]

    @property
    def identity_text(self) -> str:
        """The identity as canonical JSON."""
        return canonical(self._identity()) if self._names_files else self._fixed[1]

    def _identity(self) -> dict[str, Any]:
        c = self.component
        identity = {
            "name": self.name,
            "version": c.version,
            "params": {k: identity_value(v) for k, v in self.params.items()},
        }
        return identity | ({"code": c.code} if c.code else {})

    @cached_property
    def _fixed(self) -> tuple[dict[str, Any], str]:
        made = self._identity()
        return made, canonical(made)

    @cached_property
    def _names_files(self) -> bool:
        """Whether a path stands anywhere in the parameters: what it holds may change."""
        found: list[Any] = []
        _walk(self.params, found.append)
        return any(isinstance(v, Path) or (isinstance(v, Spec) and v._names_files) for v in found)

    @property
    def identity_key(self) -> str:
        """The identity as one string, for look-ups."""
        return text_sha256(self.identity_text)

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
            return {"sha256": content_sha256(v)} if v.is_file() else {"folder": True}
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
