"""Processes of this machine, each kept for one job after the other."""

from __future__ import annotations

import concurrent.futures as futures
import contextlib
import itertools
import math
import os
import pickle
import signal
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any

from oodbench.core.errors import UserError, one_line
from oodbench.data.sources.workers import process_of
from oodbench.runs.executors import local_worker
from oodbench.runs.executors.contract import Lost

_THREADS = ("OMP", "MKL", "OPENBLAS", "VECLIB_MAXIMUM", "NUMEXPR")
_PATIENCE = 10.0
"""Seconds that a worker without a job is given to end by itself."""


class LocalProcesses:
    """Carries out jobs in `workers` processes of this machine. A process is started for the first job that
    needs it, takes one job after the other, and ends when this process does, however that ends. Where one
    dies its job alone is lost, and the next job finds a new one.

    Written by hand, since nothing at hand does all of that: multiprocessing's and loky's executors fail every
    job when one worker dies, multiprocessing runs the user's script again in each worker, and none gives a
    worker an environment of its own (docs/decisions/engine-choice.md).

    Args:
        workers: how many.
        threads: threads of each; said before torch is imported there.
        gpus_per_run: GPUs of each worker, 0.5 for two workers on one; None: one for each worker, shared where
            there are fewer, if there are any.

    Raises:
        UserError: more GPUs are asked for than there are.

    Example:
        >>> workers = LocalProcesses(2)
        >>> [workers.submit(math.sqrt, x).result() for x in (4, 9)]
        [2.0, 3.0]
        >>> workers.close()
    """

    def __init__(self, workers: int, threads: int = 1, gpus_per_run: float | None = None) -> None:
        self.name = f"{workers} local process{'es' if workers > 1 else ''}"
        self.capacity: int | None = workers
        self._cards = shares(workers, gpus_per_run, visible_cards())
        self._environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in _THREADS}
        self._numbers = itertools.count()
        self._own = threading.local()
        self._lock = threading.Lock()
        self._started: list[_Worker] = []
        self._closed = False
        self._pool = futures.ThreadPoolExecutor(workers, thread_name_prefix="worker")

    def submit(self, function: Callable[..., Any], *args: Any) -> futures.Future[Any]:
        return self._pool.submit(self._do, pickle.dumps((function, args)))

    def avoid(self, host: str) -> bool:
        return False

    def close(self, now: bool = False) -> None:
        with self._lock:
            self._closed = now
            workers = list(self._started)
        if now:  # what waits first, else it would begin in place of what is ended
            self._pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.process.terminate()
        self._pool.shutdown()
        for worker in workers:
            worker.end()

    def _do(self, job: bytes) -> Any:
        """Have the worker of this thread do a job."""
        worker = getattr(self._own, "worker", None)
        if worker is None or worker.process.poll() is not None:
            worker = self._own.worker = self._start()
        try:
            ok, answer = worker.ask(job)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise Lost(worker.end()) from None
        except Exception as error:  # what the answer is made of cannot be had here; its rest is in the pipe
            worker.end()
            raise Lost(f"what the worker answered cannot be read: {one_line(error)}") from None
        if not ok:
            raise Lost(answer)
        return answer

    def _start(self) -> _Worker:
        number = getattr(self._own, "number", None)
        if number is None:
            number = self._own.number = next(self._numbers)
        cards = self._cards[number]
        environment = self._environment | ({} if cards is None else {"CUDA_VISIBLE_DEVICES": cards})
        with self._lock:
            if self._closed:
                raise Lost("the command is ended")
            worker = _Worker(environment)
            self._started.append(worker)
        return worker


class _Worker:
    """One process that does jobs, see `local_worker`; used by one thread."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = process_of(local_worker.__name__, stderr=self._said, env=environment)

    def ask(self, job: bytes) -> tuple[bool, Any]:
        asked, answers = self.process.stdin, self.process.stdout
        assert asked is not None
        assert answers is not None
        asked.write(struct.pack("<Q", len(job)) + job)
        asked.flush()
        return pickle.load(answers)

    def end(self) -> str:
        """Close the worker's input, at which it ends; how it ended."""
        if self._said.closed:
            return "the worker is ended"
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # the worker is gone, and something was not written
                if pipe is not None:
                    pipe.close()
        try:
            code = self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {-code}, {signal.strsignal(-code)}"
        if code == -signal.SIGKILL:
            how += ": killed, by the system if memory ran out"
        return f"the worker process {self.process.pid} ended ({how}){self._last_words()}"

    def _last_words(self) -> str:
        with self._said as said:
            said.seek(max(0, said.seek(0, os.SEEK_END) - 4000))
            lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
        return f": {one_line(lines[-1], 200)}" if lines else ""


def visible_cards() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [c.strip() for c in named.split(",")][:count] if named else [str(i) for i in range(count)]


def shares(workers: int, gpus_per_run: float | None, cards: Sequence[str]) -> list[str | None]:
    """Which GPUs each worker sees, None where that is left as it is.

    Raises UserError where there are not enough.

    Example:
        >>> shares(3, None, ["0", "1"]), shares(2, 2, ["0", "1", "2", "3"])
        (['0', '1', '0'], ['0,1', '2,3'])
    """
    if gpus_per_run is None:
        return [cards[i % len(cards)] if cards else None for i in range(workers)]
    whole = max(1, int(gpus_per_run))
    most = len(cards) // whole if gpus_per_run >= 1 else len(cards) * math.floor(1 / gpus_per_run + 1e-9)
    if workers > most:
        raise UserError(
            f"--gpus-per-run {gpus_per_run:g}: {workers} workers need"
            f" {math.ceil(workers * gpus_per_run)} GPUs, there are {len(cards)} here; "
            + (f"--workers {most} at most" if most else "leave it out")
        )
    return [",".join(cards[(i * whole + j) % len(cards)] for j in range(whole)) for i in range(workers)]
