"""What was checked of large artefacts, by size and time: so that a start does not read what an earlier one
has read."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oodbench.core.files import readable, replace
from oodbench.data.sources.roots import trust
from oodbench.runs.artefact import MANIFEST

ALWAYS_READ = 16 * 2**20
"""Bytes up to which an artefact is read and checked at every start: that takes no time."""


def is_large(size: int) -> bool:
    """Whether an artefact or a pack of so many bytes is known by size and time."""
    return size > ALWAYS_READ


class Stamps:
    """A folder with a small file for every large artefact or pack that was whole when it was last read or
    written: the sha256 of its manifest, and size and time of each of its files.

    Nothing is believed under ``--paranoid`` (`settings(trust="nothing")`), nor of a file whose size or time
    is another one, as in a copied store: then it is read, and remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def known(self, artefact: Path) -> bool:
        """Whether an artefact is as it was when it was found whole."""
        if trust() == "nothing":
            return False
        try:
            seen = json.loads(readable(self._place(artefact)).read_text())
            return bool(seen) and seen == looks(artefact)
        except (OSError, ValueError, RecursionError):
            return False

    def remember(self, artefact: Path, seen: Mapping[str, Any]) -> None:
        """An artefact that looked so has been found whole. Where this cannot be kept, it is read at the next
        start again."""
        if not is_large(sum(size for size, _ in seen.get("files", {}).values())):
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            replace(self._place(artefact), json.dumps(seen))

    def forget(self, artefact: Path) -> None:
        """An artefact is there no more."""
        with contextlib.suppress(OSError):
            self._place(artefact).unlink(missing_ok=True)

    def _place(self, artefact: Path) -> Path:
        return self._folder / f"{artefact.parents[1].name}-{artefact.name}.json"


def looks(artefact: Path) -> dict[str, Any]:
    """What tells whether an artefact's files have changed, without reading them; nothing where they cannot be
    looked at. A pack is one file, whose name is that of its content."""
    try:
        if artefact.is_file():
            seen = artefact.stat()
            return {"files": {artefact.name: [seen.st_size, seen.st_mtime_ns]}}
        manifest = (artefact / MANIFEST).read_bytes()
        files = {f.name: f.stat() for f in sorted(artefact.iterdir())}
    except OSError:
        return {}
    return {
        "manifest": hashlib.sha256(manifest).hexdigest(),
        "files": {name: [seen.st_size, seen.st_mtime_ns] for name, seen in files.items()},
    }
