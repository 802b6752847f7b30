"""Where a store lies: in a folder, or on an object store by its URL."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from oodbench.runs.remote_files import is_url
from oodbench.runs.remote_store import NoStore, RemoteStore
from oodbench.runs.store import Store


def store_at(place: str | Path, report: Callable[[str], None] = lambda message: None) -> Store:
    """The store at a path or URL, to be written. UserError where it cannot be.

    Example:
        >>> store_at("memory://study").get("weights", "0" * 64) is None
        True
    """
    url = _url(place)
    return RemoteStore(url, report) if url else Store(Path(place), report)


def opened_at(place: str | Path) -> Store:
    """The store at a path or URL, to be looked at: nothing is put there. UserError where there is none."""
    url = _url(place)
    return RemoteStore(url, writes=False) if url else Store.opened(Path(place))


def found_at(place: str | Path) -> Store | None:
    """The same, None where there is none yet. UserError where nobody can know."""
    url = _url(place)
    if not url:
        return Store.opened(Path(place)) if Store.holds_artefacts(Path(place)) else None
    try:
        return RemoteStore(url, writes=False)
    except NoStore:
        return None


def place_of(store: Store) -> str:
    """How another process, on any machine, is told of a store: its URL, else its path."""
    return store.url if isinstance(store, RemoteStore) else str(store.root.absolute())


def _url(place: str | Path) -> str:
    """A place as a URL, empty where it is a path. A Path has lost slashes: one, or two before a path of this
    machine."""
    text = str(place)
    if isinstance(place, Path) and not os.path.lexists(text.partition("/")[0]):
        text = re.sub(r"^([a-z][a-z0-9+]+):/(?!/)", r"\1://", text)
        text = re.sub(r"^(file|local)://(?!/)", r"\1:///", text)
    return text if is_url(text) else ""
