"""The mistakes of a suite file, gathered with their places and told together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pydantic

from oodbench.core.errors import SpecError, UserError, meant, one_line, shown

T = TypeVar("T")

_SAID = {
    "missing": "is missing",
    "too_short": "should be a list of at least one entry",
    "tuple_type": "should be a list",
    "int_type": "should be an integer",
    "string_type": "should be text",
    "model_type": "should be a mapping",
}
"""pydantic's kinds of errors in words that speak of a file; its own words stand for the others."""


class Problems(list[tuple[str, str]]):
    """Collects mistakes with their key paths instead of stopping at the first."""

    def tried(self, path: str, make: Callable[..., T], *args: Any, **keywords: Any) -> T | None:
        """What `make` returns; None where it raises UserError, whose mistakes are then kept, placed below
        `path`."""
        try:
            return make(*args, **keywords)
        except SpecError as error:
            self.extend((join(path, p), m) for p, m in error.problems)
        except UserError as error:
            self.append((path, str(error)))
        return None

    def stop(self) -> None:
        """Raise them all as one SpecError, if there are any."""
        if self:
            raise SpecError(self)


def join(path: str, more: str) -> str:
    """The key path `more` below `path`: ``pairs[0]`` and ``near[1]`` make ``pairs[0].near[1]``."""
    return path + ("." if path and more and more[0] != "[" else "") + more


def validated(model: type[pydantic.BaseModel], raw: Any, context: Any = None) -> Any:
    """`raw` as an object of the model. SpecError with all mistakes, each at its key path."""
    try:
        return model.model_validate(raw, context=context)
    except pydantic.ValidationError as error:
        raise SpecError(list(_told(error, keys(model)))) from None


def keys(model: type[pydantic.BaseModel]) -> list[str]:
    """The keys of a model as a suite writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _told(error: pydantic.ValidationError, allowed: Sequence[str]) -> Iterator[tuple[str, str]]:
    """pydantic's errors as (key path, one line)."""
    errors = error.errors()
    for e in errors:
        if e["type"] == "too_short" and any(o["loc"][:1] == e["loc"][:1] and o is not e for o in errors):
            continue  # its entries are there, and wrong
        place = ""
        for part in e["loc"]:
            place = join(place, f"[{part}]" if isinstance(part, int) else part)
        cause = e.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            yield from ((join(place, p), m) for p, m in cause.problems)
        elif e["type"] == "extra_forbidden":
            yield place, f"unknown key{meant(place, allowed)}"
        elif e["type"] == "literal_error":
            yield place, f"should be {e['ctx']['expected'].replace(chr(39), '')}, got {shown(e['input'])}"
        else:
            said = _SAID.get(e["type"], e["msg"].removeprefix("Value error, ").removeprefix("Input "))
            yield place, said if e["type"] == "missing" else f"{one_line(said)}, got {shown(e['input'])}"
