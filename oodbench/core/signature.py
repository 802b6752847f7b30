"""A component's signature as a checked description: keyword-only typed parameters with defaults are the
configuration."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from oodbench.core.dataset import Dataset
from oodbench.core.errors import SpecError, meant, one_line, shown
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.scorer import Scorer, View
from oodbench.core.usercode import Code, from_folder

COMPONENT = "x-oodbench-component"
"""Stands in a parameter's JSON schema where a component of some kind is nested; the schema of a suite file
puts the reference there."""


# A parameter annotated with one of these nouns takes a nested component of that kind.
_NESTED: dict[Any, str] = {
    Dataset: "dataset", Network: "network", Method: "method", Scorer: "scorer", View: "view",
}  # fmt: skip


def annotation(hint: Any) -> Any:
    """The hint as pydantic should see it: nested components resolve to a Spec, numbers refuse true and false,
    paths start at the suite."""
    if hint in _NESTED:
        kind = _NESTED[hint]
        nested = BeforeValidator(
            lambda raw, info: info.context["resolve"](kind, raw, folder=info.context.get("folder"))
        )
        return Annotated[Any, nested, WithJsonSchema({COMPONENT: kind})]
    if hint is int or hint is float:
        return Annotated[hint, BeforeValidator(_not_bool), AfterValidator(_countable)]
    if hint is Code:
        return Annotated[Any, BeforeValidator(Code.of_text), WithJsonSchema({"type": "string"})]
    if hint is Path:
        return Annotated[Path, AfterValidator(from_folder)]
    return _of_parts(hint)


def _of_parts(hint: Any) -> Any:
    """A hint made of others (an optional one, a list, one with bounds), each of them as pydantic should see
    it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        # Bounds first, guards last: a bound on a guarded number would vanish from the JSON schema.
        inner = annotation(args[0])
        kept, *guards = typing.get_args(inner) if typing.get_origin(inner) is Annotated else (inner,)
        return Annotated[(kept, *args[1:], *guards)]  # type: ignore[return-value]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(annotation(a) for a in args)]  # noqa: UP007
    if origin in (Mapping, dict):
        return dict.__class_getitem__((args[0], annotation(args[1])))
    if origin in (Sequence, list):
        return list.__class_getitem__(annotation(args[0]))
    if origin is tuple:
        return tuple.__class_getitem__(tuple(a if a is Ellipsis else annotation(a) for a in args))
    return hint


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"should be a number, got {str(value).lower()}")
    return value


def _countable(value: float) -> float:
    """A number that a key and a tensor can hold: finite, and an integer of at most 63 bits."""
    if not math.isfinite(value):
        raise ValueError(f"should be finite, got {value}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"should be an integer of at most 63 bits, got {shown(value)}")
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
        if e["type"] == "path_type" and any(place == there for there, _ in found):
            continue  # of a union of text and path, told as text
        if isinstance(cause, SpecError):
            found += [(f"{place}.{p}" if p else place, m) for p, m in cause.problems]
        elif e["type"] == "extra_forbidden":
            name = str(e["loc"][-1])
            found.append((path, f"unknown parameter {shown(name)}{meant(name, names)}"))
        elif e["type"] == "missing":
            found.append((path, f"parameter {e['loc'][-1]!r} is required"))
        else:
            message = e["msg"].removeprefix("Value error, ").removeprefix("Input ")
            message = "should be a path" if e["type"] == "path_type" else message
            value = e["input"]
            got = str(value).lower() if isinstance(value, bool) else shown(value)
            found.append((place, one_line(message) if "got " in message else f"{message}, got {got}"))
    return found


def type_text(hint: Any) -> str:
    """A type as a listing shows it, with its bounds: ``int (>= 1)``, ``a | b``, ``a scorer``."""
    if typing.get_origin(hint) is Annotated:
        base_type, *notes = typing.get_args(hint)
        bounds = []
        for note in notes:
            for m in getattr(note, "metadata", [note]):
                for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
                    bound = getattr(m, attribute, None)
                    if bound is not None:
                        bounds.append(f"{sign} {bound:g}")
        return type_text(base_type) + (f" ({', '.join(bounds)})" if bounds else "")
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(type_text(a) for a in typing.get_args(hint))
    if hint is type(None):
        return "null"
    if hint in _NESTED:
        return f"a {_NESTED[hint]}"
    args = typing.get_args(hint)
    name = getattr(typing.get_origin(hint) or hint, "__name__", str(hint))
    return f"{name}[{', '.join('...' if a is Ellipsis else type_text(a) for a in args)}]" if args else name
