"""A component's signature as a checked description: keyword-only typed parameters with defaults are the
configuration."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from oodbench.core.dataset import Dataset
from oodbench.core.errors import SpecError, UserError, meant
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.scorer import Scorer, View
from oodbench.core.spec import Spec, short_text
from oodbench.core.usercode import Code, code_of, from_folder

COMPONENT = "x-oodbench-component"
"""Stands in a parameter's JSON schema where a component of some kind is nested; the schema of a suite file
puts the reference there."""


# A parameter annotated with one of these nouns takes a nested component of that kind.
_NESTED: dict[Any, str] = {
    Dataset: "dataset", Network: "network", Method: "method", Scorer: "scorer", View: "view",
}  # fmt: skip


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
                p.name: (_annotation(self._hints[p.name]), ... if p.default is p.empty else p.default)
                for p in self._keywords.values()
            }
            config = ConfigDict(
                extra="forbid", arbitrary_types_allowed=True, validate_default=True, protected_namespaces=()
            )
            self._model = pydantic.create_model(self.name, __config__=config, **fields)
        return self._model

    @property
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
                    _type_text(self._hints[p.name]),
                    "required" if p.default is p.empty else short_text(p.default),
                )
            )
        return rows

    def resolve(self, params: Any, *, alias: str = "", folder: Path | None = None) -> Spec:
        if params is None:
            params = {}
        if not isinstance(params, Mapping):
            raise SpecError([(self.name, f"parameters should be a mapping {{name: value}}, got {params!r}")])
        try:
            model = self.model.model_validate(
                dict(params), context={"folder": folder, "resolve": self._resolve}
            )
        except pydantic.ValidationError as error:
            raise SpecError(problems_of(error, self.name, list(self.model.model_fields))) from None
        return Spec(self, {k: getattr(model, k) for k in self.model.model_fields}, alias)


def _annotation(hint: Any) -> Any:
    """The hint as pydantic should see it: nested components resolve to a Spec, numbers refuse true and false,
    paths start at the suite."""
    if hint in _NESTED:
        kind = _NESTED[hint]
        nested = BeforeValidator(
            lambda raw, info: info.context["resolve"](kind, raw, folder=info.context.get("folder"))
        )
        return Annotated[Any, nested, WithJsonSchema({COMPONENT: kind})]
    if hint is int or hint is float:
        return Annotated[hint, BeforeValidator(_not_bool)]
    if hint is Code:
        return Annotated[Any, BeforeValidator(Code.of_text), WithJsonSchema({"type": "string"})]
    if hint is Path:
        return Annotated[Path, pydantic.AfterValidator(from_folder)]
    return _of_parts(hint)


def _of_parts(hint: Any) -> Any:
    """A hint made of others (an optional one, a list, one with bounds), each of them as pydantic should see
    it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        # Bounds first, guards last: a bound on a guarded number would vanish from the JSON schema.
        inner = _annotation(args[0])
        kept, *guards = typing.get_args(inner) if typing.get_origin(inner) is Annotated else (inner,)
        return Annotated[(kept, *args[1:], *guards)]  # type: ignore[return-value]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_annotation(a) for a in args)]  # noqa: UP007
    if origin in (Mapping, dict):
        return dict.__class_getitem__((args[0], _annotation(args[1])))
    if origin in (Sequence, list):
        return list.__class_getitem__(_annotation(args[0]))
    if origin is tuple:
        return tuple.__class_getitem__(tuple(a if a is Ellipsis else _annotation(a) for a in args))
    return hint


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"should be a number, got {str(value).lower()}")
    return value


def problems_of(error: pydantic.ValidationError, path: str, names: list[str]) -> list[tuple[str, str]]:
    """pydantic's errors as (key path, one line), nested components' mistakes flattened to their own paths."""
    found: list[tuple[str, str]] = []
    for e in error.errors():
        # Union branches and validators put their own names into the location; only keys and indices mean
        # something to a user.
        place = path
        for i, part in enumerate(e["loc"]):
            if isinstance(part, int):
                place += f"[{part}]"
            elif i == 0 or (
                not any(c in part for c in "[]()-") and part not in ("int", "float", "str", "bool")
            ):
                place += f".{part}"
        cause = e.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            found += [(f"{place}.{p}" if p else place, m) for p, m in cause.problems]
        elif e["type"] == "extra_forbidden":
            found.append((path, f"unknown parameter {e['loc'][-1]!r}{meant(str(e['loc'][-1]), names)}"))
        elif e["type"] == "missing":
            found.append((path, f"parameter {e['loc'][-1]!r} is required"))
        else:
            message = e["msg"].removeprefix("Value error, ").removeprefix("Input ")
            got = (
                ""
                if "got " in message
                else (
                    f", got {e['input']!r}"
                    if not isinstance(e["input"], bool)
                    else f", got {str(e['input']).lower()}"
                )
            )
            found.append((place, message + got))
    return found


def _type_text(hint: Any) -> str:
    if typing.get_origin(hint) is Annotated:
        base_type, *notes = typing.get_args(hint)
        bounds = []
        for note in notes:
            for m in getattr(note, "metadata", [note]):
                for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
                    bound = getattr(m, attribute, None)
                    if bound is not None:
                        bounds.append(f"{sign} {bound:g}")
        return _type_text(base_type) + (f" ({', '.join(bounds)})" if bounds else "")
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(_type_text(a) for a in typing.get_args(hint))
    if hint is type(None):
        return "null"
    if hint in _NESTED:
        return f"a {_NESTED[hint]}"
    args = typing.get_args(hint)
    name = getattr(typing.get_origin(hint) or hint, "__name__", str(hint))
    return f"{name}[{', '.join('...' if a is Ellipsis else _type_text(a) for a in args)}]" if args else name
