"""Image files decoded by many at a time: threads of this process, or processes of their own."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.data.sources import local_copy, roots, worker
from oodbench.data.sources.decoding import Color, shaped
from oodbench.data.sources.local_copy import Source
from oodbench.data.sources.paths import printable

Damaged = Callable[[int, Exception], UserError]
"""From a file's place among those that are read, and what its decoding raised, to what the user is told."""

MANY_FILES, MANY_CPUS = 10_000, 8
"""From so many files on, and with more CPUs than this, processes decode where the user has not chosen."""


def decoding_threads() -> int:
    """How many threads decode images: one for each CPU that this process may use, at most 16."""
    return min(16, roots.cpus())


def decoding_processes(files: int) -> int:
    """How many processes decode the images of a set of so many files, 0 for the threads of this one: what
    ``--readers`` or OODBENCH_READERS says, else one for each CPU, at most 16, where there are many of
    both."""
    chosen = roots.readers()
    if chosen is not None:
        return chosen
    return min(16, roots.cpus()) if files >= MANY_FILES and roots.cpus() > MANY_CPUS else 0


@lru_cache(1)
def threads() -> ThreadPoolExecutor:
    """The threads that decode, the same for all sets of this process."""
    return ThreadPoolExecutor(decoding_threads(), thread_name_prefix="decode")


def read_into(
    out: np.ndarray,
    files: Sequence[Source],
    color: Color,
    geometry: Geometry,
    processes: int,
    damaged: Damaged,
) -> None:
    """Decode `files` into `out`, uint8 (B, C, H, W), as a network of that geometry sees them. The pixels are
    the same whoever decodes. UserError is what `damaged` says of the first file that cannot be decoded, or
    that a process ended over a file."""
    # a task per image would cost more than a small image's decoding
    step = max(2, -(-len(files) // (8 * (processes or decoding_threads()))))
    parts = [range(s, min(s + step, len(files))) for s in range(0, len(files), step)]

    def here(part: range) -> None:
        for i in part:
            try:
                out[i] = shaped(local_copy.pixels(files[i], color), geometry)
            except Exception as error:  # Pillow raises half a dozen types for damaged files
                raise damaged(i, error) from None

    def elsewhere(part: range) -> None:
        crew.mine().read(out, part, files, (color, geometry), damaged)

    if processes:
        crew = _crew(processes)
        list(crew.pool.map(elsewhere, parts))
    else:
        list(threads().map(here, parts))


def process_of(module: str, **how: Any) -> subprocess.Popen[bytes]:
    """A process of this Python that runs ``main`` of a module, with pipes to its standard input and output.

    Modules are looked for where this process does: `-m` would begin with the current folder, in which a user
    may have a `random.py`. No script of the user's is run again, as multiprocessing's start does."""
    start = (
        f"import sys; sys.path[:] = {[p for p in sys.path if isinstance(p, str)]!r};"
        f" from {module} import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", start],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,  # Ctrl-C is for us alone
        **how,
    )  # fmt: skip


class _Worker:
    """One process that decodes, see `worker`; used by one thread."""

    def __init__(self) -> None:
        self.process = process_of(worker.__name__, env=os.environ | {"OMP_NUM_THREADS": "1"})
        weakref.finalize(self, _end_own, self.process, os.getpid())

    def read(
        self,
        out: np.ndarray,
        part: range,
        files: Sequence[Source],
        how: tuple[Color, Geometry],
        damaged: Damaged,
    ) -> None:
        asked, answers = self.process.stdin, self.process.stdout
        assert asked is not None
        assert isinstance(answers, io.BufferedReader)
        failed: tuple[int, str] | None = None
        at = part[0]
        try:
            sources = [files[i]._replace(file=os.path.abspath(files[i].file)) for i in part]
            asked.write(pickle.dumps((sources, *how)))
            asked.flush()
            for at in part:  # all are taken from the pipe, else the next answer would begin with the rest
                while (kind := answers.read(1)) == worker.WARNING:
                    local_copy.say_once(pickle.load(answers))
                if kind == worker.REASON:
                    reason = pickle.load(answers)
                    failed = failed or (at, reason)
                elif kind != worker.PIXELS or answers.readinto(out[at].data) < out[at].nbytes:
                    raise EOFError
        except (OSError, EOFError, pickle.UnpicklingError):
            raise self._ended(files[at].file) from None
        except BaseException:
            _end(self.process)
            raise
        if failed is not None:
            raise damaged(failed[0], OSError(failed[1]))

    def _ended(self, file: str) -> UserError:
        code = _end(self.process)
        how = f"exit code {code}" if code >= 0 else f"signal {-code}, {signal.strsignal(-code)}"
        return UserError(
            f"{printable(file)}: the process that decoded it ended ({how}); read with fewer `--readers`,"
            " or with 0, which is threads"
        )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


def _end_own(process: subprocess.Popen[bytes], starter: int) -> None:
    """End a worker, unless this is a process that was forked from the one that started it."""
    if os.getpid() == starter:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Close a worker's input, at which it ends; its exit code."""
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # the worker is gone, and something was not written
            if pipe is not None:
                pipe.close()
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class _Crew:
    """Processes that decode, each asked by a thread of its own; they are started when there is work."""

    def __init__(self, count: int) -> None:
        self.pool = ThreadPoolExecutor(count, thread_name_prefix="decode")
        self._own: dict[int, _Worker] = {}
        _crews.add(self)

    def mine(self) -> _Worker:
        """The worker of the thread that asks, a new one in place of one that ended."""
        thread = threading.get_ident()
        found = self._own.get(thread)
        if found is None or not found.alive:
            found = self._own[thread] = _Worker()
        return found


_crews: weakref.WeakSet[_Crew] = weakref.WeakSet()
_of_parent: list[object] = []


@lru_cache(1)
def _crew(count: int) -> _Crew:
    return _Crew(count)


def _begin_anew() -> None:
    """In a forked process, which has none of the threads, nor a share in what the workers answer. What it
    holds of them is never closed: a thread that is not here may have had its lock."""
    _of_parent.extend([threads(), *_crews])
    threads.cache_clear()
    _crew.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
