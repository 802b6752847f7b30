"""Artefacts being written, each in a folder of its own whose name says what it is and who writes it; and what
becomes of those that nobody writes any more."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import uuid
from pathlib import Path
from typing import Any

from oodbench.core.files import listed
from oodbench.runs import shards
from oodbench.runs.artefact import can_be_mended

FORGOTTEN = 7 * 24 * 3600.0
"""Seconds after which a draft that no longer grows is taken for left behind, wherever it was begun."""
_NOBODY = 0
"""In place of the number of a process: whoever began it has given it up."""
PACK = "packs"
"""In place of a kind: a pack of the run with a key is being written. Nobody goes on with that of another."""
_ASIDE, _PROBE = "aside", "probe"
_OURS: set[str] = set()
"""Names of the drafts that this process writes."""


class Drafts:
    """The drafts of one store. Each belongs to one writer, whose machine and process its name says; it needs
    no lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fresh(self, kind: str, key: str) -> Path:
        """An empty folder to write something in that is made at once: nothing is looked for that others have
        begun. What a killed process leaves of it, the next that opens the store removes."""
        folder = self._new(kind, key)
        folder.mkdir()
        return folder

    def _new(self, kind: str, key: str) -> Path:
        folder = self._folder / f"{kind}-{key}-{me()['host']}-{os.getpid()}-{_some()}"
        _OURS.add(folder.name)
        return folder

    def begin(self, kind: str, key: str, damaged: Path) -> Path:
        """A folder to write an artefact in, with what is finished of it: a draft that nobody writes any more,
        else the remains `damaged` of the artefact itself, else a copy of the finished shards of a draft that
        somebody may still be writing. Other drafts that nobody writes are removed."""
        folder = self._new(kind, key)
        left: list[Path] = []
        others: list[Path] = []
        mine = [self._folder / n for n in listed(self._folder) if n.startswith(f"{kind}-{key}-")]
        drafts = sorted(mine, key=_finished, reverse=True)
        now = self._now() if drafts else 0.0
        for draft in drafts:
            (left if is_left(draft, now) else others).append(draft)
        for draft in left:
            if _finished(draft) and not folder.exists():
                with contextlib.suppress(OSError):  # another machine was quicker
                    os.rename(draft, folder)
                    continue
            self.remove(draft)
        if not folder.exists() and can_be_mended(damaged):
            with contextlib.suppress(OSError):
                os.rename(damaged, folder)
        folder.mkdir(exist_ok=True)
        if others and not any(folder.iterdir()) and _finished(others[0]):
            _copy(others[0], folder)
        return folder

    def leave(self, draft: Path) -> None:
        """A draft that could not be ended: kept for the next who makes the artefact if any shard of it is
        finished, else removed."""
        if _finished(draft):
            stem, (_, _, tail) = draft.name.split("-")[:2], draft.name.rsplit("-", 2)
            with contextlib.suppress(OSError):
                os.rename(draft, draft.with_name(f"{'-'.join(stem)}-{me()['host']}-{_NOBODY}-{tail}"))
                _OURS.discard(draft.name)
                return
        shutil.rmtree(draft, ignore_errors=True)
        _OURS.discard(draft.name)

    def done(self, draft: Path) -> None:
        """A draft has got its final name."""
        _OURS.discard(draft.name)

    def remove(self, *folders: Path) -> None:
        """Drafts, remains of artefacts, or artefacts that lie in a pack now: each is taken away at once, and
        then all are removed. What a killed process leaves of that, the next that opens the store removes."""
        moved = []
        for folder in folders:
            aside = self._folder / f"{_ASIDE}-{_some()}"
            with contextlib.suppress(OSError):
                os.rename(folder, aside)
                moved.append(aside)
            _OURS.discard(folder.name)
        for aside in moved:
            _discard(aside)

    def sweep(self) -> None:
        """Remove what was left behind: at once what is cheap to make again, after long what others might
        have gone on with."""
        now = self._now()
        for folder in self._folder.iterdir():
            if self._is_swept(folder, now):
                self.remove(folder)

    @staticmethod
    def _is_swept(folder: Path, now: float) -> bool:
        kind = folder.name.partition("-")[0]
        if kind == _ASIDE:
            return True
        if kind in (PACK, _PROBE) and is_left(folder, now):
            return True
        return now - _grew(folder, now) > FORGOTTEN and (kind == "damaged" or is_left(folder, now))

    def _now(self) -> float:
        """The time by the clock of the file system, which stamps what processes of every machine write.
        OSError where nothing can be written."""
        probe = self._new(_PROBE, "clock")
        try:
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)
            _OURS.discard(probe.name)


def _discard(path: Path) -> None:
    """Remove a folder or a file, as far as another process does not do the same."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def me() -> dict[str, Any]:
    """Machine and number of this process. Processes that cannot see each other (in containers of one machine)
    are on different machines."""
    host = re.sub(r"[^A-Za-z0-9.]+", "_", socket.gethostname())[:64]
    with contextlib.suppress(OSError):
        world = re.sub(r"[^0-9]+", "", os.readlink("/proc/self/ns/pid"))
        host += f".{world}" if world != _FIRST_WORLD else ""
    return {"host": host, "pid": os.getpid()}


_FIRST_WORLD = "4026531836"
"""Number of the process-id namespace that Linux starts with."""


def is_left(draft: Path, now: float) -> bool:
    """Whether nobody writes a draft any more, by who began it and when it last grew before `now`: on this
    machine one whose process is gone, of another one that has not grown for long."""
    host, _, rest = draft.name.rpartition("-")[0].rpartition("-")
    host = host.rpartition("-")[2]
    if rest == str(_NOBODY):
        return True
    if host == me()["host"] and rest.isdigit():
        try:
            os.kill(int(rest), 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:
            return False
        # of our number: of an earlier process that had it, unless we write it
        return int(rest) == os.getpid() and draft.name not in _OURS
    return now - _grew(draft, now) > FORGOTTEN


def _grew(folder: Path, now: float) -> float:
    """When a draft last grew; `now`, where that cannot be seen."""
    try:
        return max(f.stat().st_mtime for f in (folder, *(folder.iterdir() if folder.is_dir() else ())))
    except OSError:
        return now


def _finished(draft: Path) -> int:
    """How many shards of a draft are finished; those of an artefact that was all but published, too."""
    noted = [shards.noted(draft / name) for name in listed(draft, ".safetensors")]
    found = sum(len(n.shards) for n in noted if n is not None)
    return found or int(can_be_mended(draft))


def _copy(draft: Path, folder: Path) -> None:
    """The finished shards of a draft that is somebody's. The journal comes first: what it names is on the
    disk, and whoever goes on with the copy verifies it."""
    with contextlib.suppress(OSError):
        for name in listed(draft, shards.JOURNAL):
            for file in (name, name.removesuffix(shards.JOURNAL)):
                shutil.copyfile(draft / file, folder / file)


def _some() -> str:
    return uuid.uuid4().hex[:8]
