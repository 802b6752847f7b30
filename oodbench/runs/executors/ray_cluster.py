"""A Ray cluster: any number of machines, or one of this machine alone."""

from __future__ import annotations

import collections
import concurrent.futures as futures
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from oodbench.core.errors import UserError, one_line
from oodbench.runs.executors import ray_joining, ray_place
from oodbench.runs.executors.contract import Lost

_IDLE = 60.0
"""Seconds after which a place without a job is given back, so that a cluster can shrink."""
_LOOK = 2.0
"""Seconds between two looks at the cluster."""
_AHEAD = 8
"""Places asked for at least beyond what the cluster has, which is how it hears that it should grow."""


class _Job(NamedTuple):
    future: futures.Future[Any]
    module: str
    function: str
    args: tuple[Any, ...]


@dataclass(eq=False)
class _Place:
    """An actor with the resources of one run."""

    actor: Any
    since: float = field(default_factory=time.monotonic)
    """When it was asked for, or had its last job."""
    node: str = ""
    machine: str = ""
    """As the answers of jobs name it."""
    host: str = ""
    """As people do."""


class RayCluster:
    """Carries out jobs on a Ray cluster: each in a place, a process (an actor) that has the CPUs and GPUs of
    one run and is kept for the next job. Places, and not Ray's tasks, since a task's process that is kept is
    given now this and now that GPU (measured), which CUDA, once started, does not follow.

    More places are asked for than there are, up to twice as many, while jobs wait: a cluster that can grow
    does so then. A place without a job is given back after a minute.

    Args:
        address: HOST:PORT of the head node, or ``local`` for a cluster of this machine alone.
        threads: CPUs of one run.
        gpus_per_run: GPUs of one run, 0.25 for four runs on one; None: one where the cluster has any.

    Raises:
        UserError: see `ray_joining.join`; a node without the package; a local cluster in which no run fits.
    """

    def __init__(self, address: str, threads: int = 1, gpus_per_run: float | None = None) -> None:
        self._ray, self._joined = ray_joining.join(address)
        self._threads = threads
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        with_cards = any(node["Resources"].get("GPU") for node in alive)
        self._gpus = float(with_cards) if gpus_per_run is None else gpus_per_run
        self._grows = address != "local"
        self.name = f"Ray at {address}" if self._grows else "Ray on this machine"
        self.capacity: int | None = None if self._grows else self._fit(alive)
        try:
            self._check(alive)
        except BaseException:
            self._leave()
            raise
        self._ray.cloudpickle.register_pickle_by_value(ray_place)
        self._actor = self._ray.remote(ray_place.Place)
        self._avoided: set[str] = set()
        self._nodes_of: dict[str, set[str]] = {}
        self._places: set[_Place] = set()
        self._starting: set[_Place] = set()
        self._idle: list[_Place] = []
        self._waiting: collections.deque[_Job] = collections.deque()
        self._size = (0.0, 0)
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="ray", daemon=True)
        self._thread.start()

    def _check(self, alive: list[Any]) -> None:
        if self.capacity == 0:
            raise UserError(
                f"--ray local: no run of {self._threads} threads and {self._gpus:g} GPUs fits on this"
                " machine; ask for less by --threads or --gpus-per-run"
            )
        if self._grows:
            ray_joining.check_package(self._ray, [n for n in alive if self._fit([n])])

    def _fit(self, nodes: list[Any]) -> int:
        return sum(ray_joining.places_on(n, self._threads, self._gpus) for n in nodes)

    # ------------------------------------------------------------ asked from outside

    def submit(self, function: Callable[..., Any], *args: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()
        job = _Job(future, function.__module__, function.__qualname__, args)
        self._events.put(lambda: self._waiting.append(job))
        return future

    def avoid(self, host: str) -> bool:
        nodes = set(self._nodes_of.get(host, ()))  # a job may be refused there after the place was given back
        self._avoided |= nodes
        self._events.put(lambda: None)
        left = [n for n in self._ray.nodes() if n["NodeID"] not in self._avoided]
        return bool(nodes) and self._fit(left) > 0

    def close(self, now: bool = False) -> None:
        if now:
            self._events.put(self._waiting.clear)
        self._events.put(None)
        self._thread.join()
        for place in [*self._places, *self._starting]:
            self._kill(place)
        self._leave()

    def _leave(self) -> None:
        if self._joined:
            self._ray.shutdown()

    # ------------------------------------------------------------ one thread does all that follows

    def _serve(self) -> None:
        while True:
            event: Callable[[], None] | None = self._give
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=_LOOK)
            if event is None:
                return
            try:
                event()
                self._give()
                self._grow()
                self._shrink()
            except Exception as error:  # the connection is gone: Ray raises all sorts
                self._fail(f"the Ray cluster cannot be reached: {one_line(error, 300)}")

    def _give(self) -> None:
        """Jobs to places without one."""
        for place in [p for p in self._idle if p.node in self._avoided]:
            self._drop(place)
        while self._waiting and self._idle:
            job = self._waiting.popleft()
            if job.future.set_running_or_notify_cancel():
                place = self._idle.pop()
                answer = place.actor.work.remote(job.module, job.function, job.args).future()
                self._then(answer, partial(self._ended, job, place, answer))

    def _then(self, answer: futures.Future[Any], event: Callable[[], None]) -> None:
        answer.add_done_callback(lambda _: self._events.put(event))

    def _grow(self) -> None:
        """More places, as long as jobs wait for one."""
        looked, there = self._size
        if time.monotonic() - looked > _LOOK:
            nodes = [n for n in self._ray.nodes() if n["NodeID"] not in self._avoided]
            there = self._fit(nodes)
            self._size = time.monotonic(), there
        most = there + (max(there, _AHEAD) if self._grows else 0)
        room = most - len(self._places) - len(self._starting)
        where = {"ray.io/node-id": f"!in({','.join(sorted(self._avoided))})"} if self._avoided else {}
        sized = self._actor.options(num_cpus=self._threads, num_gpus=self._gpus, label_selector=where)
        for _ in range(min(room, len(self._waiting) - len(self._starting))):
            place = _Place(sized.remote())
            self._starting.add(place)
            answer = place.actor.ready.remote().future()
            self._then(answer, partial(self._begun, place, answer))

    def _shrink(self) -> None:
        """Places that nobody needed for a while are given back."""
        if not self._waiting:
            for place in [*self._idle, *self._starting]:
                if time.monotonic() - place.since > _IDLE:
                    self._drop(place)

    def _begun(self, place: _Place, answer: futures.Future[Any]) -> None:
        if place not in self._starting:
            return  # given back before it was there
        self._starting.discard(place)
        try:
            place.node, place.machine, place.host, wrong = answer.result()
        except Exception as error:
            self._fail(f"no worker can be started: {_reason(error)}", 1)
            return
        if wrong:  # a node that came later: those that were there have been asked
            self._avoided.add(place.node)
            self._kill(place)
            self._fail(f"the package oodbench cannot be imported on {place.host}: {one_line(wrong)}", 1)
        else:
            self._nodes_of.setdefault(place.machine, set()).add(place.node)
            self._places.add(place)
            self._idle.append(place)

    def _ended(self, job: _Job, place: _Place, answer: futures.Future[Any]) -> None:
        place.since = time.monotonic()
        try:
            ok, value = answer.result()
        except Exception as error:
            ok, value = False, f"the worker on {place.host} ended: {_reason(error)}"
        if ok:
            self._idle.append(place)
            job.future.set_result(value)
        else:
            self._drop(place)
            job.future.set_exception(Lost(value))

    def _fail(self, reason: str, most: int = 0) -> None:
        """Tell of the jobs that wait (the first `most` of them, all for 0) that they cannot be done."""
        for _ in range(min(most or len(self._waiting), len(self._waiting))):
            job = self._waiting.popleft()
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(Lost(reason))

    def _drop(self, place: _Place) -> None:
        for known in (self._places, self._starting):
            known.discard(place)
        if place in self._idle:
            self._idle.remove(place)
        self._kill(place)

    def _kill(self, place: _Place) -> None:
        with contextlib.suppress(Exception):  # it is gone, or the cluster is
            self._ray.kill(place.actor)


def _reason(error: Exception) -> str:
    """One line of an error of Ray's, whose first line is the sentence and whose rest are numbers."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {one_line(lines[0] if lines else '', 300)}"
