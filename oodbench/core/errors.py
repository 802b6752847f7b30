"""What can go wrong through no fault of ours, said in one line each."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


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


def reason_of(error: Exception) -> str:
    """What a row says of an error: a user's mistake in its own words, anything else with its type."""
    text = str(error).strip()
    if isinstance(error, UserError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class SpecError(UserError, ValueError):
    """Mistakes in a component's description, each with the key path it stands at, so that a suite can show
    all of them at once."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__(
            "\n".join(f"{path}: {message}" if path else message for path, message in self.problems)
        )


class MissingData(UserError):
    """A data set that is not on this machine: what, where it was looked for, and how to get it."""


class NotApplicable(UserError):
    """A component that cannot run on what it was given (no linear head, too few classes): the reason and what
    to do."""


def meant(name: str, choices: Sequence[str]) -> str:
    """The end of an error line: the nearest allowed name, if any is near, and all of them."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    there = ", ".join(sorted(choices)) or "none"
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" allowed: {there}"
