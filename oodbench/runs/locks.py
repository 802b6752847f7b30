"""One process at a time at one artefact, as far as file locks reach. Where they do not, work goes on without:
what is made twice is a harmless duplicate."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from oodbench.core.errors import UserError, shown
from oodbench.runs.drafts import me

try:
    import fcntl
except ImportError:  # no file locks on this system
    fcntl = None  # type: ignore[assignment]

SWITCH = "OODBENCH_LOCKS"
"""Environment variable: ``off`` where file locks do not work and do not say so."""
ANNOUNCED_AFTER = 2.0
"""Seconds after which a process says that it waits for another."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EACCES,
             errno.EPERM, errno.ESTALE}  # fmt: skip
"""What file systems without locks say, and lock files of other users."""


def wanted() -> bool:
    """Whether file locks are to be used here. UserError where the environment says neither on nor off."""
    said = os.environ.get(SWITCH, "").strip().lower()
    if said not in ("", "on", "off"):
        raise UserError(f"{SWITCH}: should be 'on' or 'off', got {shown(said)}")
    return said != "off" and fcntl is not None


@contextlib.contextmanager
def alone(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a file, which is there as long as it is held. `waiting` is told once for whom, where
    another process holds it for long. OSError where it cannot be written, as on a full disk."""
    fd = _taken(path, waiting) if wanted() else -1
    try:
        yield
    finally:
        if fd >= 0:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    os.unlink(path)  # whoever waits sees that its file is no longer the one of that name
            os.close(fd)


def _taken(path: Path, waiting: Callable[[str], None]) -> int:
    """The lock file, open and locked; -1 where there are no locks."""
    since, told, pause = time.monotonic(), False, 0.02
    while True:
        try:
            fd = _tried(path)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return -1
            raise
        if fd >= 0:
            return fd
        if not told and time.monotonic() - since > ANNOUNCED_AFTER:
            told = True
            waiting(_holder(path))
        time.sleep(pause)
        pause = min(2 * pause, 0.5)


def _tried(path: Path) -> int:
    """The lock file if nobody holds it; else -1."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(path)):  # else the holder before us has removed it
            with contextlib.suppress(OSError):  # it only tells those who wait
                os.ftruncate(fd, 0)
                os.write(fd, json.dumps(me() | {"since": time.strftime("%H:%M:%S")}).encode())
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(fd)
        raise
    os.close(fd)
    return -1


def _holder(file: Path) -> str:
    """Who holds a lock, as far as it is known."""
    try:
        about = json.loads(file.read_text())
        return f"process {about['pid']} on {about['host']} (since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
