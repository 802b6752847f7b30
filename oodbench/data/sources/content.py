"""What a file holds, told by all of its bytes or by a few of them."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oodbench.core.errors import UserError, one_line
from oodbench.data.sources.paths import kind_of, printable

WHOLE = 2 * 2**30
"""Files that are together no larger than so many bytes are read whole to list them."""
PIECE = 4096
"""Of larger ones the first, the middle and the last so many bytes are."""

THREADS = 16
"""More than a machine's CPUs: a file on a disk or a server is mostly waited for."""
_TOGETHER = 64
"""Files that a thread does at a time, since to hand out each costs more than a small one."""


class Read(NamedTuple):
    """What is seen of one file: its mark, the sha256 of all of it (empty where it was not read), size and
    time; or why it is no sample."""

    mark: bytes = b""
    sha256: str = ""
    size: int = 0
    time: int = 0
    reason: str = ""


class Budget:
    """Decides which files are read whole: all, until they are together too large. Threads may share it."""

    def __init__(self, limit: float) -> None:
        self._limit, self._lock, self.total = limit, threading.Lock(), 0

    def takes(self, size: int) -> bool:
        with self._lock:
            self.total += size
            return self.total <= self._limit


def mark(data: bytes) -> bytes:
    """16 bytes that tell content: sha256 over the size and three pieces of it (the first, the middle and the
    last 4 KiB), or over all of it where it is no larger than these.

    Images are stored compressed. One that is encoded, cropped or painted anew has another length, with near
    certainty; it has other tables at its start, another stream in its middle, and in PNG a checksum of its
    stream at its end. What three pieces and the size do not tell is a change elsewhere that keeps the length:
    a bit that a failing disk has turned, or other pixels of an uncompressed BMP or PPM file. So where it
    counts (an image in two sets, ``oodbench data verify``, ``--paranoid``) every byte is read."""
    return _mark(len(data), lambda size, at: data[at : at + size])


def _mark(size: int, read: Callable[[int, int], bytes]) -> bytes:
    if size <= 3 * PIECE:
        return hashlib.sha256(read(size, 0)).digest()[:16]
    places = (0, (size - PIECE) // 2, size - PIECE)
    sha = hashlib.sha256(b"%d\0" % size)
    for at in places:
        sha.update(read(PIECE, at))
    return sha.digest()[:16]


def read_content(file: str, budget: Budget) -> Read:
    """Look at a file, which is opened once, and read it whole if the budget takes it."""
    try:
        seen = os.stat(file)
        if not stat.S_ISREG(seen.st_mode):  # never waited for
            return Read(reason=f"{printable(file)}: is {kind_of(seen.st_mode)}, no image file")
        fd = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            whole = budget.takes(seen.st_size)
            if not whole and hasattr(os, "posix_fadvise"):  # else the system reads on, which is all of it
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            marked = _mark(seen.st_size, lambda size, at: os.pread(fd, size, at))
            return Read(marked, _sha256(fd) if whole else "", seen.st_size, seen.st_mtime_ns)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return Read(reason=f"no such file: {printable(file)}")
    except (OSError, ValueError) as error:
        why = one_line(getattr(error, "strerror", None) or error)
        return Read(reason=f"{one_line(printable(file))}: cannot be read ({why})")


def _sha256(fd: int) -> str:
    sha = hashlib.sha256()
    while data := os.read(fd, 1 << 20):
        sha.update(data)
    return sha.hexdigest()


def hashes_of(root: Path, paths: Sequence[str]) -> np.ndarray:
    """The first 16 bytes of the sha256 of each file, every byte of which is read, (N,)."""
    return _each(root, paths, lambda read: bytes.fromhex(read.sha256[:32]), float("inf"))


def marks_of(root: Path, paths: Sequence[str]) -> np.ndarray:
    """The mark of each file, (N,)."""
    return _each(root, paths, lambda read: read.mark, -1)


def _each(root: Path, paths: Sequence[str], take: Callable[[Read], bytes], limit: float) -> np.ndarray:
    """16 bytes of each file, by many threads. UserError for one that cannot be read."""
    budget = Budget(limit)

    def some(start: int) -> bytes:
        found = []
        for path in paths[start : start + _TOGETHER]:
            read = read_content(f"{root}/{path}", budget)
            if read.reason:
                raise UserError(read.reason)
            found.append(take(read))
        return b"".join(found)

    with ThreadPoolExecutor(THREADS) as pool:
        return np.frombuffer(b"".join(pool.map(some, range(0, len(paths), _TOGETHER))), "S16")
