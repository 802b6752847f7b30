"""Where data lie: the folders that are searched, and what is said when nothing is found there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from oodbench.core.errors import Lack, MissingData, UserError, shown

DATA_ROOT = "OODBENCH_DATA"
OFFLINE = "OODBENCH_OFFLINE"
READERS = "OODBENCH_READERS"
LOCAL = "OODBENCH_LOCAL_DATA"
MOST_READERS = 512


@dataclass(frozen=True)
class Settings:
    """What holds for every data set that this process opens, see `settings`.

    Args:
        data_roots: folders that are searched for data, before the variable and the default.
        offline: the network must not be touched.
        trust: what is believed of a large folder, or a large stored artefact, that was read before.
            ``cache``: what was kept of it, if sizes and times are as they were. ``nothing``: every byte is
            read again. ``presence``: nothing is read, and a folder without an index is `NotIndexed`.
        whole: digests of large folders are over every byte, as those of small ones are (see `Index`).
        found: a list that is told where data lie, for those who want to say so.
        watch: is told, a line at a time, how far something is that takes long.
        readers: processes that decode image files, 0 for threads of this one; ``None``: what OODBENCH_READERS
            says, or what the machine suggests.
        local: a folder on this machine's own disk in which copies of data files are kept; ``None``: what
            OODBENCH_LOCAL_DATA says, or none (see `local_copy`).
        cpus: CPUs that this process may use, where it shares them with others; ``None``: all that the system
            gives it.
    """

    data_roots: tuple[Path, ...] = ()
    offline: bool = False
    trust: Literal["cache", "nothing", "presence"] = "cache"
    whole: bool = False
    found: list[Path] | None = None
    watch: Callable[[str], None] | None = None
    readers: int | None = None
    local: Path | None = None
    cpus: int | None = None


_settings = Settings()


@contextmanager
def settings(**changes: Any) -> Iterator[None]:
    """Inside, the fields of `Settings` that are named have other values, in every thread.

    They stand here and are not handed on as parameters: a data set is built by its name, often inside another
    one, and what its signature takes is part of its identity, which must not depend on where data lie."""
    global _settings
    before, _settings = _settings, replace(_settings, **changes)
    try:
        yield
    finally:
        _settings = before


def trust() -> str:
    """What is believed of what was read before: ``cache``, ``nothing`` or ``presence`` (see `Settings`)."""
    return _settings.trust


def digests_whole() -> bool:
    """Whether digests of large folders are over every byte, as those of small ones are."""
    return _settings.whole


def tell(line: str) -> None:
    """Say how far something is that takes long, to whoever watches."""
    if _settings.watch is not None:
        _settings.watch(line)


def data_roots() -> list[Path]:
    """Folders that are searched for data, in order: those of ``--data-root``, else of OODBENCH_DATA, else
    ``data`` here.

    Several are separated as in PATH; downloads go into the first.
    """
    given = _settings.data_roots or [p for p in os.environ.get(DATA_ROOT, "").split(os.pathsep) if p.strip()]
    return [_at_home(p) for p in given or ["data"]]


def _at_home(path: str | Path) -> Path:
    """The path with ``~`` as the user's folder; as it is where nobody knows that folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def offline() -> bool:
    """Whether the network must not be touched: ``--offline`` or OODBENCH_OFFLINE=1."""
    return _settings.offline or os.environ.get(OFFLINE, "") not in ("", "0")


def readers() -> int | None:
    """How many processes decode image files, by ``--readers`` or OODBENCH_READERS; None where neither is
    given."""
    given = os.environ.get(READERS, "").strip()
    if _settings.readers is not None or not given:
        return _settings.readers
    if not (given.isascii() and given.isdigit() and len(given) < 10 and int(given) <= MOST_READERS):
        raise UserError(
            f"{READERS}: {shown(given)} should be a number of processes from 0 (threads) to {MOST_READERS}"
        )
    return int(given)


def local_data() -> Path | None:
    """The folder of this machine's own copies of data files, by ``--local-data`` or OODBENCH_LOCAL_DATA; None
    where neither is given, and data are read from where they lie."""
    given = os.environ.get(LOCAL, "").strip()
    if _settings.local is not None:
        return _at_home(_settings.local).absolute()
    return _at_home(given).absolute() if given else None


def cpus() -> int:
    """How many CPUs this process may use."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return there if _settings.cpus is None else min(there, _settings.cpus)


def cache_folder() -> Path:
    """Where indices of large folders are kept: OODBENCH_CACHE, else the user's cache folder. Deleting it
    loses only time."""
    given = os.environ.get("OODBENCH_CACHE")
    if given:
        return _at_home(given)
    return _at_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "oodbench"


def find(
    name: str, folders: Sequence[str], *, get: str, is_it: Callable[[Path], bool] = Path.exists,
    root: Path | None = None,
    also: Sequence[Path] = (), download: str = "",
) -> Path:  # fmt: skip
    """The first of `folders` (relative to a data root) that holds the data set `name`, then `also`. With
    `root`, it and `folders` in it are all that is searched.

    Raises MissingData with every place that was looked at and `get`, the command or page that gets it.
    `download` is what gets several sets at once, of which `name` is then a part.
    """
    if root is not None:
        looked = list(dict.fromkeys([root, *(root / f for f in folders)]))
    else:
        looked = list(dict.fromkeys([*(r / f for r in data_roots() for f in folders), *also]))
    for place in looked:
        if is_it(place):
            note(place)
            return place
    missing(name, looked, get, download)


def note(place: Path) -> None:
    """Tell the settings' `found` that data lie there, unless a folder above it is in it already."""
    found = _settings.found
    if found is not None and not any(place.is_relative_to(p) for p in found):
        found.append(place)


def missing(name: str, looked: Sequence[Path], get: str, download: str = "") -> NoReturn:
    """Raise MissingData: which data set, where it was looked for, how to get it, and the `download` that it
    is a part of, if any."""
    whole, part = (download, name) if download else (f"data set {name!r}", "")
    raise MissingData(lacks=[Lack(whole, part, tuple(map(str, looked)), get)])
