"""Artefacts being written, each in a folder of its own whose name says what it is and who writes it; and what
becomes of those that nobody writes any more."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import time
import uuid
from pathlib import Path
from typing import Any

from oodbench.runs import shards
from oodbench.runs.artefact import can_be_mended

FORGOTTEN = 7 * 24 * 3600.0
"""Seconds after which a draft that no longer grows is taken for left behind, wherever it was begun."""
_NOBODY = 0
"""In place of the number of a process: whoever began it has given it up."""


class Drafts:
    """The drafts of one store. Who asks for one holds the lock of its artefact."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, kind: str, key: str, damaged: Path) -> Path:
        """A folder to write an artefact in, with what is finished of it: a draft that nobody writes any more,
        else the remains `damaged` of the artefact itself, else a copy of the finished shards of a draft that
        somebody may still be writing. Other drafts that nobody writes are removed."""
        folder = self._folder / f"{self._stem(kind, key)}-{me()['host']}-{os.getpid()}-{_some()}"
        left: list[Path] = []
        others: list[Path] = []
        for draft in sorted(self._folder.glob(f"{self._stem(kind, key)}-*"), key=_finished, reverse=True):
            (left if is_left(draft) else others).append(draft)
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
                return
        shutil.rmtree(draft, ignore_errors=True)

    def remove(self, folder: Path) -> None:
        """A draft, or the remains of an artefact, taken away at once and then removed."""
        aside = self._folder / f"damaged-{_some()}"
        with contextlib.suppress(OSError):
            os.rename(folder, aside)
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink()

    def sweep(self) -> None:
        """Remove what was left behind long ago of artefacts that nobody makes any more."""
        for folder in self._folder.iterdir():
            old = time.time() - _grew(folder) > FORGOTTEN
            if old and (folder.name.startswith("damaged-") or is_left(folder)):
                self.remove(folder)

    @staticmethod
    def _stem(kind: str, key: str) -> str:
        return f"{kind}-{key}"


def me() -> dict[str, Any]:
    """Machine and number of this process."""
    return {"host": re.sub(r"[^A-Za-z0-9.]+", "_", socket.gethostname())[:64], "pid": os.getpid()}


def is_left(draft: Path) -> bool:
    """Whether nobody writes a draft any more, by who began it and when it last grew: on this machine one
    whose process is gone (its lock is ours), of another one that has not grown for long."""
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
        return int(rest) == os.getpid()  # of an earlier process that had our number: ours would hold the lock
    return time.time() - _grew(draft) > FORGOTTEN


def _grew(folder: Path) -> float:
    """When a draft last grew; now, where that cannot be seen."""
    try:
        return max(f.stat().st_mtime for f in (folder, *(folder.iterdir() if folder.is_dir() else ())))
    except OSError:
        return time.time()


def _finished(draft: Path) -> int:
    """How many shards of a draft are finished; those of an artefact that was all but published, too."""
    noted = [shards.noted(f) for f in draft.glob("*.safetensors")]
    found = sum(len(n.shards) for n in noted if n is not None)
    return found or int(can_be_mended(draft))


def _copy(draft: Path, folder: Path) -> None:
    """The finished shards of a draft that is somebody's. The journal comes first: what it names is on the
    disk, and whoever goes on with the copy verifies it."""
    with contextlib.suppress(OSError):
        for journal in draft.glob(f"*{shards.JOURNAL}"):
            shutil.copyfile(journal, folder / journal.name)
            shutil.copyfile(journal.with_suffix(""), folder / journal.stem)


def _some() -> str:
    return uuid.uuid4().hex[:8]
