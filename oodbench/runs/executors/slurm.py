"""Slurm, through submitit: each job is a job of Slurm's, those that are given together are one array."""

from __future__ import annotations

import concurrent.futures as futures
import contextlib
import os
import queue
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from oodbench.core.errors import UserError, one_line
from oodbench.data.sources.roots import cpus
from oodbench.runs.executors import slurm_file, slurm_job
from oodbench.runs.executors.contract import Lost

_TOGETHER = 0.3
"""Seconds without a further job after which those that have come are given to Slurm."""
_ARRAY = 1000
"""Jobs of one array at most: what Slurm allows unless told otherwise."""
_LOOK = 1.0
"""Seconds between two looks at the results."""
_ASK = 30
"""Seconds between two questions to Slurm about jobs without a result."""
_GONE = 300.0
"""Seconds after which a job that had to make room, and is not begun again, is given up."""
_LONG = 7 * 24 * 60
"""Minutes of a job on this machine, where submitit would end it after two."""


class _Asked(NamedTuple):
    future: futures.Future[Any]
    module: str
    function: str
    args: tuple[Any, ...]


@dataclass
class _Given:
    """A job that Slurm has."""

    future: futures.Future[Any]
    job: Any
    preempted: float = 0.0
    """Since when it has made room for another one; 0: it has not."""


class Slurm:
    """Carries out jobs on a Slurm cluster.

    Args:
        file: YAML of submitit's parameters, see `slurm_file.read`. ``cluster: local`` runs each job in a
            process of this machine instead.
        threads: CPUs of one run, unless the file says how many.
        gpus_per_run: GPUs of one run, unless the file says how many.
        logs: a folder that all nodes see; what was written about jobs that are lost stays there.

    Raises:
        UserError: see `slurm_file.read`; no Slurm here; a folder that cannot be written.
    """

    def __init__(self, file: Path, threads: int, gpus_per_run: float | None, logs: Path) -> None:
        submitit = slurm_file.library()
        cluster, parameters = slurm_file.read(file, threads, gpus_per_run)
        self._local = cluster != "slurm"
        self.name = "submitit on this machine" if self._local else "Slurm"
        self.capacity: int | None = max(1, cpus() // threads) if self._local else None
        self._folder = logs / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        made = {key: parameters.pop(key) for key in ("slurm_python",) if key in parameters}
        if self._local:
            parameters = {"timeout_min": _LONG} | parameters
        try:
            self._executor = submitit.AutoExecutor(self._folder, cluster=cluster, **made)
            self._executor.update_parameters(**parameters)
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--slurm: {self._folder}: cannot be written ({error.strerror})") from None
        except Exception as error:  # submitit raises all sorts
            raise UserError(f"--slurm {file}: {slurm_file.first_line(error)}") from None
        self._threads, self._excluded = threads, parameters.get("slurm_exclude", "")
        if not self._local:
            from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

            SlurmJob.watcher = SlurmInfoWatcher(delay_s=_ASK)  # it waits for up to ten minutes otherwise
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._waiting: list[_Asked] = []
        self._given: list[_Given] = []
        self._accepted = self._kept = False
        self._now = False
        self._thread = threading.Thread(target=self._serve, name="slurm", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ asked from outside

    def submit(self, function: Callable[..., Any], *args: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()
        self._asked.put(_Asked(future, function.__module__, function.__qualname__, args))
        return future

    def avoid(self, host: str) -> bool:
        if self._local:
            return False
        host = host.partition(".")[0]
        self._excluded = ",".join(filter(None, [self._excluded, host]))
        return True

    def close(self, now: bool = False) -> None:
        self._now = now
        self._asked.put(None)
        self._thread.join()
        if now:
            self._cancel([one.job for one in self._given])
        if not self._kept and not self._given:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._given.clear()

    # ------------------------------------------------------------ one thread does all that follows

    def _serve(self) -> None:
        """Take jobs, give them, look after them. At the end those that were given are waited for."""
        closing = False
        while not self._now and not (closing and not self._given and not self._waiting):
            closing = self._take() or closing
            ahead = self.capacity - len(self._given) if self.capacity else _ARRAY
            while self._waiting and ahead > 0:
                batch, self._waiting = self._waiting[:ahead], self._waiting[ahead:]
                self._give([one for one in batch if one.future.set_running_or_notify_cancel()])
                ahead = ahead if self.capacity is None else 0
            self._look()

    def _take(self) -> bool:
        """Jobs as they come, until none comes for a while; whether there will be no more."""
        rest = (
            0.05 if self._local else _LOOK * max(1.0, len(self._given) / 200)
        )  # a look costs a list of files
        wait = rest if self._given or self._waiting else None
        with contextlib.suppress(queue.Empty):
            while True:
                one = self._asked.get(timeout=wait)
                if one is None:
                    return True
                self._waiting.append(one)
                wait = 0.0 if self._local else _TOGETHER
        return False

    def _give(self, batch: Sequence[_Asked]) -> None:
        if not batch:
            return
        try:
            if self._excluded:
                self._executor.update_parameters(slurm_exclude=self._excluded)
            with _threads_said(self._threads), self._executor.batch():
                jobs = [
                    self._executor.submit(slurm_job.work, one.module, one.function, one.args) for one in batch
                ]
        except Exception as error:  # what sbatch or the file system says
            reason = f"Slurm takes no job: {slurm_file.first_line(error)}"
            for one in batch:  # the first time it is the user's to mend; later it may be a moment's
                one.future.set_exception(Lost(reason) if self._accepted else UserError(f"--slurm: {reason}"))
            return
        self._accepted = True
        self._given += [_Given(one.future, job) for one, job in zip(batch, jobs, strict=True)]

    def _look(self) -> None:
        """End the jobs whose result is there, and those that will have none."""
        there = set(os.listdir(self._folder)) if self._folder.is_dir() else set()
        still = []
        for one in self._given:
            if one.job.paths.result_pickle.name in there:
                self._end(one)
            elif self._is_gone(one):
                self._lose(one)
            else:
                still.append(one)
        self._given = still

    def _is_gone(self, one: _Given) -> bool:
        """Whether a job without a result has ended. Slurm is asked about all jobs at once, now and then."""
        if self._local:
            return one.job.done() and not one.job.paths.result_pickle.exists()
        if one.job.watcher.is_done(one.job.job_id):
            return not one.job.paths.result_pickle.exists()
        if not one.job.state.upper().startswith("PREEMPTED"):
            one.preempted = 0.0
        elif not one.preempted:
            one.preempted = time.monotonic()
        return bool(one.preempted) and time.monotonic() - one.preempted > _GONE

    def _end(self, one: _Given) -> None:
        try:
            ok, value = one.job.result()
        except Exception as error:
            ok, value = False, f"job {one.job.job_id}: {one_line(error, 300)}"
        if not ok:
            self._kept = True
            one.future.set_exception(Lost(value))
            return
        one.future.set_result(value)
        paths = one.job.paths
        for file in (paths.result_pickle, paths.submitted_pickle, paths.stdout, paths.stderr):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def _lose(self, one: _Given) -> None:
        self._kept = True
        state = str(one.job.state).lower()
        self._cancel([one.job])
        one.future.set_exception(
            Lost(f"job {one.job.job_id} ended without an answer ({state}); its log: {one.job.paths.stderr}")
        )

    def _cancel(self, jobs: Sequence[Any]) -> None:
        if self._local:
            for job in jobs:
                job.cancel()
        elif jobs:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                ids = [job.job_id for job in jobs]
                subprocess.run(["scancel", *ids], capture_output=True, timeout=60)


@contextlib.contextmanager
def _threads_said(count: int) -> Any:
    """While inside, processes that are started, and jobs that Slurm starts, find so many threads in their
    environment, before torch is imported there."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
