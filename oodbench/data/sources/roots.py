"""Where data lie: the folders that are searched, and what is said when nothing is found there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import NoReturn

from oodbench.core.errors import MissingData

DATA_ROOT = "OODBENCH_DATA"
OFFLINE = "OODBENCH_OFFLINE"

places: ContextVar[list[Path] | None] = ContextVar("places", default=None)
"""Where data were found, for those who want to say so."""


def data_roots() -> list[Path]:
    """Folders that are searched for data, in order: those of OODBENCH_DATA (or ``--data-root``), else
    ``data`` here.

    Several are separated as in PATH; downloads go into the first.
    """
    given = [Path(p).expanduser() for p in os.environ.get(DATA_ROOT, "").split(os.pathsep) if p.strip()]
    return given or [Path("data")]


def offline() -> bool:
    """Whether the network must not be touched: ``--offline`` or OODBENCH_OFFLINE=1."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def cache_folder() -> Path:
    """Where indices of large folders are kept: OODBENCH_CACHE, else the user's cache folder. Deleting it
    loses only time."""
    given = os.environ.get("OODBENCH_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "oodbench"


def find(
    name: str, folders: Sequence[str], *, get: str, is_it: Callable[[Path], bool] = Path.exists,
    root: Path | None = None,
    also: Sequence[Path] = (),
) -> Path:  # fmt: skip
    """The first of `folders` (relative to a data root) that holds the data set `name`, then `also`. With
    `root`, it and `folders` in it are all that is searched.

    Raises MissingData with every place that was looked at and `get`, the command or page that gets it.
    """
    if root is not None:
        looked = list(dict.fromkeys([root, *(root / f for f in folders)]))
    else:
        looked = list(dict.fromkeys([*(r / f for r in data_roots() for f in folders), *also]))
    for place in looked:
        if is_it(place):
            note(place)
            return place
    missing(name, looked, get)


def note(place: Path) -> None:
    """Remember in `places` that data lie there, unless a folder above it is remembered already."""
    noted = places.get()
    if noted is not None and not any(place.is_relative_to(p) for p in noted):
        noted.append(place)


def missing(name: str, looked: Sequence[Path], get: str) -> NoReturn:
    """Raise MissingData: which data set, where it was looked for, how to get it."""
    where = ", ".join(str(p) for p in looked)
    raise MissingData(f"data set {name!r} is not here; looked for it in {where}; to get it: {get}")
