"""What can go wrong through no fault of ours, said in one line each."""

from __future__ import annotations

import difflib
import re
import reprlib
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class UserError(Exception):
    """A mistake of the user's: the message says where, what is wrong and what is allowed. The command line
    prints it and exits 1.

    Example:
        >>> try:
        ...     oodbench.build("scorer", "ennergy")
        ... except oodbench.UserError as error:
        ...     print(str(error)[:53])
        unknown scorer 'ennergy'; did you mean 'energy'? allo
    """


_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?", re.DOTALL)


def one_line(said: object, most: int = 400) -> str:
    """What an error (or a text) says, as one printable line of at most `most` characters: no escape codes,
    no control characters, no line breaks. Of an error without text its type."""
    text = said if isinstance(said, str) else str(said) or type(said).__name__
    text = _ESCAPES.sub("", text[: 50 * most])
    text = " ".join("".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text).split())
    return text if len(text) <= most else text[: most - 2].rstrip() + " …"


def shown(value: Any) -> str:
    """A value as a message quotes it: the start of a long, deep or many times repeated one, in one line."""
    try:
        return one_line(_SHORT.repr(value), 120)
    except Exception:  # an integer of thousands of digits; a repr of the user's that raises
        return f"a value of type {type(value).__name__}"


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 80, 80, 40


ANYTHING = (Exception, SystemExit)
"""What a user's code may raise, and what costs only what depends on it; an interruption is not among it."""


def reason_of(error: BaseException) -> str:
    """What a row says of an error, in one line: a user's mistake in its own words, anything else with its
    type and, where a file of the user's raised it, the place there."""
    if isinstance(error, UserError) and str(error).strip():
        return one_line("; ".join(line for line in str(error).splitlines() if line.strip()), 1000)
    kind = type(error).__name__
    text = one_line(error)
    return (kind if text == kind else f"{kind}: {text}") + _place(error)


def _place(error: BaseException) -> str:
    """Where in a file that is neither ours nor installed an error was raised, such as `` (mine.py:6)``."""
    ours = [Path(__file__).parents[1], *(Path(p) for p in sysconfig.get_paths().values())]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.suffix == ".py" and file.is_file() and not any(file.is_relative_to(p) for p in ours):
            return f" ({one_line(file.name)}:{frame.lineno})"
    return ""


class SpecError(UserError, ValueError):
    """Mistakes in a component's description, each with the key path it stands at, so that a suite can show
    all of them at once."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__(
            "\n".join(f"{path}: {message}" if path else message for path, message in self.problems)
        )


class BadValue(UserError, ValueError):
    """A value handed over in code that cannot be what it should be: a user's mistake, and to Python a
    ValueError."""


class NotFitted(UserError, AttributeError):
    """A scorer was asked for scores before it was fitted: to Python an attribute that is not there."""


class NotFinite(BadValue):
    """Values of one set that are not finite (NaN, infinity): what else was given can be scored without it."""


class Lack(NamedTuple):
    """A download that is not here: `whole` says which, `part` what of it was wanted (empty: there is no other
    part), `looked` where it was looked for, `get` what gets it."""

    whole: str
    part: str
    looked: tuple[str, ...]
    get: str


class MissingData(UserError):
    """A data set that is not on this machine: what, where it was looked for, and how to get it. What comes in
    one download is one line, see `lines_of_missing`."""

    def __init__(self, message: str = "", lacks: Sequence[Lack] = ()) -> None:
        self.lacks = tuple(lacks)
        super().__init__(message or "\n".join(_lines_of(self.lacks)))

    @classmethod
    def joined(cls, errors: Iterable[MissingData]) -> MissingData:
        """All that some errors say, each download once."""
        several = list(errors)
        lacks = [lack for e in several for lack in e.lacks]
        own = dict.fromkeys(str(e) for e in several if not e.lacks and str(e))
        return cls("\n".join([*own, *_lines_of(lacks)]), lacks)


def _lines_of(lacks: Iterable[Lack]) -> list[str]:
    """One line for each download."""
    parts: dict[Lack, dict[str, None]] = {}
    for lack in lacks:
        parts.setdefault(lack._replace(part=""), {})[lack.part] = None
    return [
        f"{whole.whole}{_in_brackets([p for p in wanted if p])} is not here; looked for it in"
        f" {', '.join(whole.looked)}; to get it: {whole.get}"
        for whole, wanted in parts.items()
    ]


def _in_brackets(parts: Sequence[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""


def lines_of_missing(found: Iterable[tuple[str, MissingData]]) -> list[str]:
    """What is missing and who misses it, one line for each download.

    Example:
        >>> one = MissingData(lacks=[Lack("data set 'x'", "", ("data/x",), "oodbench data download x")])
        >>> lines_of_missing([("pair 'a'", one), ("pair 'b'", one)])[0][:33]
        "pair 'a', pair 'b': data set 'x' "
    """
    told: dict[str, None] = {}
    lacks: list[tuple[str, Lack]] = []
    for whose, error in found:
        of_lacks = set(_lines_of(error.lacks))
        told |= {f"{whose}: {line}": None for line in str(error).splitlines() if line not in of_lacks}
        lacks += [(whose, lack) for lack in error.lacks]
    lines = list(told)
    for whole in dict.fromkeys(lack._replace(part="") for _, lack in lacks):
        same = [(whose, lack) for whose, lack in lacks if lack._replace(part="") == whole]
        lines += [f"{_some(list(dict(same)))}: {line}" for line in _lines_of(lack for _, lack in same)]
    return lines


def _some(names: Sequence[str], most: int = 3) -> str:
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


class NotApplicable(UserError):
    """A component that cannot run on what it was given (no linear head, too few classes): the reason and what
    to do."""


def meant(name: str, choices: Sequence[str]) -> str:
    """The end of an error line: the nearest allowed name, if any is near, and all of them."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    there = ", ".join(sorted(choices)) or "none"
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" allowed: {there}"
