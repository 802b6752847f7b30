"""What each worker does at the moment, in a small file for each job, read by whoever gave out the jobs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from oodbench.core.files import draft_of, remove_left
from oodbench.runs.drafts import me

EVERY = 1.0
"""Seconds between two words of one job."""
_FOLDER = "running"


class Beat:
    """The word of one job, taken back when it ends. Without a folder, or where it cannot be written, nothing
    is said: work does not depend on it."""

    def __init__(self, folder: str, name: str) -> None:
        self._file = Path(folder) / f"{name}.json" if folder else None
        self._said = 0.0

    def __enter__(self) -> Beat:
        self.say("planning", 0.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)

    def say(self, what: str, part: float) -> None:
        """What is done, and which part of it is over, in [0, 1]."""
        now = time.monotonic()
        if self._file is None or (part and now - self._said < EVERY):
            return
        self._said = now
        with contextlib.suppress(OSError):
            draft = self._file.with_suffix(".tmp")
            draft.write_text(json.dumps(me() | {"what": what, "part": part}))
            os.replace(draft, self._file)


class Word(NamedTuple):
    """What a job said last: machine and process, what it does, which part of that is over."""

    host: str
    pid: int
    what: str
    part: float


def heard(folder: str) -> dict[str, Word]:
    """The last word of each job that runs, by its name."""
    found = {}
    for file in Path(folder).glob("*.json") if folder else ():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said: dict[str, Any] = json.loads(file.read_text())
            found[file.stem] = Word(
                str(said["host"]), int(said["pid"]), str(said["what"]), float(said["part"])
            )
    return found


@contextlib.contextmanager
def listening(root: Path | None) -> Iterator[str]:
    """A folder in the store `root` for the words of one command's jobs, removed at the end, with those that
    killed commands have left. Empty where there can be none."""
    if root is None:
        yield ""
        return
    place = root.absolute() / _FOLDER
    folder = draft_of(place / "jobs")
    try:
        remove_left(place / "jobs")
        folder.mkdir(parents=True)
    except OSError:
        yield ""
        return
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            place.rmdir()
