"""One process at a time at a place that several may want to make."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PATIENCE = 2.0
"""Seconds that another process is waited for without a word."""


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Inside, no other process makes `target`: one that wants to waits, says so after two seconds, and should
    look again whether it is there. The lock lies beside the target until that is made.

    Raises:
        OSError: the lock cannot be written there.
    """
    target = target.absolute()
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        warnings.warn(f"waiting for another process that is making {target}", stacklevel=3)
        lock.acquire()
    try:
        yield
        # Who waits opens the file again and again, and then finds the target.
        Path(lock.lock_file).unlink(missing_ok=True)
    finally:
        lock.release()
