"""Gives the runs of a plan to an executor as jobs, each once what it starts from is there, and gathers what
they answer."""

from __future__ import annotations

import collections
import concurrent.futures as futures
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from oodbench.core.errors import UserError, one_line
from oodbench.runs.executors.contract import Executor, Lost
from oodbench.runs.jobs import FAILED, NOTHING, REFUSED, STOPPED, Done
from oodbench.suite.plan import Plan
from oodbench.suite.run import Run

ATTEMPTS = 3
"""How often a job is begun whose worker dies under it."""
_AHEAD = 1_000
"""Jobs given out at a time to an executor that may grow: the more it sees, the better it knows how far."""
_TICK = 0.5
"""Seconds between two looks at what runs."""


class Task(NamedTuple):
    """A job to be done: a whole run, or (`part`, their key) weights that runs start from or are made of."""

    name: str
    run: Run
    part: str = ""
    needs: frozenset[str] = frozenset()
    """The names of the tasks whose weights it reads."""

    @property
    def title(self) -> str:
        of = next((s.title for s in self.run.lineage if s.key == self.part), self.run.title)
        return f"{of} (weights)" if self.part else of

    @property
    def kind(self) -> tuple[str, str]:
        """Tasks of one kind take about the same time."""
        return (f"{self.run.network_label} / {self.run.method.label}", "weights" if self.part else "run")


def tasks_of(plan: Plan, apart: bool = True) -> list[Task]:
    """The tasks of a plan. With `apart`, weights that several runs read are a task of their own, done once;
    else each run makes what it lacks, one after the other."""
    if not apart:
        return [Task(f"r{i}", run) for i, run in enumerate(plan.runs)]
    own = collections.Counter(r.key for r in plan.runs if r.key in {s.key for s in r.lineage})
    shared = {s.key for r in plan.runs for s in r.lineage if s.key != r.key}
    shared |= {key for key, count in own.items() if count > 1}
    found: dict[str, Task] = {}
    for i, run in enumerate(plan.runs):
        for source in run.lineage:
            if source.key in shared:
                before = frozenset(_of(s.key) for s in source.lineage if s is not source and s.key in shared)
                found.setdefault(_of(source.key), Task(_of(source.key), run, source.key, before))
        needs = frozenset(_of(s.key) for s in run.lineage if s.key in shared)
        found[f"r{i}"] = Task(f"r{i}", run, needs=needs)
    return list(found.values())


def _of(key: str) -> str:
    return f"w{key[:24]}"


@dataclass
class State:
    """Where the tasks of a fleet stand."""

    waiting: int = 0
    running: dict[str, Task] = field(default_factory=dict)
    """Given out, by name: those that an executor has not begun yet are among them."""
    done: int = 0
    failed: int = 0
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    """What finished tasks took, by kind."""
    left: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    """Tasks that are not finished, by kind."""


class Fleet:
    """Carries out tasks on an executor.

    Args:
        executor: where the jobs run.
        call: a function, and its arguments, that does a task there and returns a `Done`.
        told: is given each task with its end, in the order of their ends.
        watch: is told where all tasks stand, now and then.
    """

    def __init__(
        self, executor: Executor, call: Callable[[Task], tuple[Callable[..., Done], Sequence[Any]]],
        told: Callable[[Task, Done], None], watch: Callable[[State], None] = lambda state: None,
    ) -> None:  # fmt: skip
        self.executor, self._call, self._told, self._watch = executor, call, told, watch
        self.state = State()

    def work(self, tasks: Sequence[Task]) -> None:
        """Carry out all tasks. Raises UserError where nothing can be kept any more; what was going on is
        ended then, as after an interruption."""
        ends = _Ends(tasks)
        attempts: collections.Counter[str] = collections.Counter()
        running: dict[futures.Future[Done], Task] = {}
        self.state.left.update(t.kind for t in tasks)
        ahead = 2 * self.executor.capacity if self.executor.capacity else _AHEAD
        while running or ends.ready:
            while ends.ready and len(running) < ahead:
                task = ends.ready.popleft()
                attempts[task.name] += 1
                function, args = self._call(task)
                running[self.executor.submit(function, *args)] = task
            self._look(ends, running)
            over, _ = futures.wait(running, timeout=_TICK, return_when=futures.FIRST_COMPLETED)
            for future in over:
                task = running.pop(future)
                done = self._end_of(future, attempts[task.name])
                if done is None:
                    ends.ready.append(task)
                    continue
                for ended in ends.after(task, done):
                    self._tell(*ended)
        self._look(ends, running)

    def _end_of(self, future: futures.Future[Done], attempts: int) -> Done | None:
        """What a job answered; None where it has to be done once more."""
        try:
            done = future.result()
        except (Lost, futures.CancelledError, OSError) as error:
            reason = f"the worker was lost {attempts} times: {one_line(error)}"
            return None if attempts < ATTEMPTS else Done(NOTHING, FAILED, reason)
        if done.wrong == STOPPED:
            raise UserError(done.reason)
        if done.wrong == REFUSED and attempts < ATTEMPTS and self.executor.avoid(done.host):
            return None
        return done

    def _tell(self, task: Task, done: Done) -> None:
        self.state.left[task.kind] -= 1
        self.state.done += not done.wrong
        self.state.failed += bool(done.wrong)
        if not done.wrong:
            self.state.seconds[task.kind].append(done.seconds)
        self._told(task, done)

    def _look(self, ends: _Ends, running: dict[futures.Future[Done], Task]) -> None:
        self.state.running = {t.name: t for t in running.values()}
        self.state.waiting = len(ends.waiting) + len(ends.ready)
        self._watch(self.state)


class _Ends:
    """Which tasks can begin, given which have ended."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.ready = collections.deque(t for t in tasks if not t.needs)
        self.waiting = {t.name: set(t.needs) for t in tasks if t.needs}
        self._tasks = {t.name: t for t in tasks}
        self._after: dict[str, list[str]] = collections.defaultdict(list)
        for t in tasks:
            for name in t.needs:
                self._after[name].append(t.name)

    def after(self, task: Task, done: Done) -> Iterator[tuple[Task, Done]]:
        """The end of a task, and of those that cannot be had without it; others may begin now."""
        yield task, done
        for name in self._after[task.name]:
            if name not in self.waiting:
                continue
            if done.wrong:
                del self.waiting[name]
                yield from self.after(self._tasks[name], Done(NOTHING, done.wrong, done.reason))
                continue
            self.waiting[name].discard(task.name)
            if not self.waiting[name]:
                del self.waiting[name]
                self.ready.append(self._tasks[name])
