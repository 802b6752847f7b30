"""Who begins when: after what it starts from, once, again where its worker is lost, not at all where that
cannot be had."""

from __future__ import annotations

import collections
import concurrent.futures as futures
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from oodbench.core.errors import UserError
from oodbench.runs.executors.contract import Lost
from oodbench.runs.executors.serial import Here
from oodbench.runs.fleet import ATTEMPTS, Fleet, State, Task, tasks_of
from oodbench.runs.jobs import FAILED, NOTHING, REFUSED, STOPPED, Done
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import Plan, make_plan
from tests.runs.suites import SMALL


class Threads:
    """Jobs in threads of this process, which may be lost: a real pool with the contract's face."""

    name, capacity = "threads", 3

    def __init__(self, elsewhere: bool = True) -> None:
        self.pool, self.elsewhere, self.avoided = futures.ThreadPoolExecutor(3), elsewhere, list[str]()

    def submit(self, function: Callable[..., Any], *args: Any) -> futures.Future[Any]:
        return self.pool.submit(function, *args)

    def avoid(self, host: str) -> bool:
        self.avoided.append(host)
        return self.elsewhere

    def close(self, now: bool = False) -> None:
        self.pool.shutdown(cancel_futures=now)


def plan(**changes: Any) -> Plan:
    return make_plan(parse_suite(SMALL | {"inapplicable": "skip"} | changes))


LINEAGE = {
    "methods": [
        {"ensemble": {"of": "cross-entropy", "members": 2}},
        {"als": {}, "start": "cross-entropy", "as": "later"}, "cross-entropy", "label-smoothing",
    ],
    "seeds": [0, 1],
}  # fmt: skip


def work(
    tasks: list[Task], job: Callable[[Task, int], Done], executor: Any = None, state: Any = None
) -> list[tuple[Task, Done]]:
    """What a fleet tells, in order; `job` is given a task and how often it was begun before."""
    begun: collections.Counter[str] = collections.Counter()
    guard = threading.Lock()

    def do(task: Task) -> Done:
        with guard:
            count = begun[task.name]
            begun[task.name] += 1
        return job(task, count)

    told: list[tuple[Task, Done]] = []
    executor = executor or Threads()
    look = state or (lambda s: None)
    try:
        Fleet(executor, lambda t: (do, (t,)), lambda t, d: told.append((t, d)), look).work(tasks)
    finally:
        executor.close(now=True)
    return told


FINE = Done(NOTHING)


def test_weights_that_several_runs_read_are_a_task_of_their_own_once_per_key() -> None:
    found = tasks_of(plan(**LINEAGE))
    parts = [t.part for t in found if t.part]
    assert len(parts) == len(set(parts))
    runs = {f"r{i}": run for i, run in enumerate(plan(**LINEAGE).runs)}
    assert [t.name for t in found if not t.part] == list(runs)
    # by hand: cross-entropy of seeds 0 to 3 (members 2 s and 2 s + 1; starts of seeds 0 and 1)
    assert len(parts) == 4
    for t in found:
        if t.part:
            assert not t.needs
            assert t.title.endswith("(weights)")
            assert t.title.partition(" / seed")[0].endswith("cross-entropy")
    needs = {runs[t.name].title: len(t.needs) for t in found if not t.part}
    assert {title.split(" / ")[2]: n for title, n in needs.items()} == {
        "ensemble(members=2)": 2, "later": 1, "cross-entropy": 1, "label-smoothing": 0,
    }  # fmt: skip


def test_a_run_nobody_else_reads_of_makes_its_own_weights() -> None:
    assert [(t.name, t.needs) for t in tasks_of(plan())] == [("r0", frozenset())]
    assert all(not t.part and not t.needs for t in tasks_of(plan(**LINEAGE), apart=False))


def test_two_pairs_with_the_same_known_images_train_once() -> None:
    pair = SMALL["pairs"][0]
    other = pair | {"name": "q", "far": {"noise": {"noise": {"size": 8, "channels": 1, "count": 50}}}}
    found = tasks_of(plan(pairs=[pair, other]))
    assert [bool(t.part) for t in found] == [True, False, False]
    assert found[1].needs == found[2].needs == {found[0].name}


@pytest.mark.parametrize("executor", [Threads, Here])
def test_nothing_begins_before_what_it_starts_from(executor: Callable[[], Any]) -> None:
    tasks = tasks_of(plan(**LINEAGE))
    over: set[str] = set()

    def job(task: Task, count: int) -> Done:
        assert task.needs <= over
        time.sleep(0.01)
        over.add(task.name)
        return FINE

    told = work(tasks, job, executor())
    assert sorted(t.name for t, _ in told) == sorted(t.name for t in tasks)


def test_a_lost_worker_costs_another_begin_and_in_the_end_that_run_alone() -> None:
    tasks = tasks_of(plan(seeds=[0, 1, 2]))

    def job(task: Task, count: int) -> Done:
        if task.name == "r0" and count < ATTEMPTS - 1:
            raise Lost("signal 9")
        if task.name == "r1":
            raise Lost("signal 11")
        return FINE

    ends = {t.name: d for t, d in work(tasks, job)}
    assert (ends["r0"].wrong, ends["r2"].wrong) == ("", "")
    assert ends["r1"].wrong == FAILED
    assert ends["r1"].reason == f"the worker was lost {ATTEMPTS} times: signal 11"


def test_without_its_parent_a_run_fails_with_the_parents_reason() -> None:
    tasks = tasks_of(plan(**LINEAGE))
    first = next(t for t in tasks if t.part)

    def job(task: Task, count: int) -> Done:
        assert first.name not in task.needs
        return Done(NOTHING, FAILED, "the loss is not finite") if task is first else FINE

    told = work(tasks, job)
    reasons = {t.name: d.reason for t, d in told}
    assert len(told) == len(tasks)
    assert {name for name, why in reasons.items() if why} == {
        t.name for t in tasks if t is first or first.name in t.needs
    }
    assert set(reasons.values()) == {"", "the loss is not finite"}


def test_a_machine_that_refuses_is_avoided_and_where_there_is_no_other_the_run_fails() -> None:
    def job(task: Task, count: int) -> Done:
        return FINE if count else Done(NOTHING, REFUSED, "node7: other code", host="node7")

    tasks = tasks_of(plan())
    executor = Threads()
    assert [d for _, d in work(tasks, job, executor)] == [FINE]
    assert executor.avoided == ["node7"]
    ((_, done),) = work(tasks, job, Threads(elsewhere=False))
    assert (done.wrong, done.reason) == (REFUSED, "node7: other code")


def test_what_starts_from_weights_that_every_machine_refused_is_refused_too() -> None:
    """And not a failure of its own: whoever counts the refused runs sees them all."""
    tasks = tasks_of(plan(**LINEAGE))
    shared = {t.name for t in tasks if t.part}

    def job(task: Task, count: int) -> Done:
        return Done(NOTHING, REFUSED, "node7: other code", host="node7") if task.part else FINE

    told = work(tasks, job, Threads(elsewhere=False))
    wrong = {t.name: d.wrong for t, d in told}
    assert shared
    assert wrong == {t.name: REFUSED if shared & ({t.name} | t.needs) else "" for t in tasks}


def test_where_nothing_can_be_kept_the_fleet_stops() -> None:
    def job(task: Task, count: int) -> Done:
        return Done(NOTHING, STOPPED, "store s: cannot be written (No space left on device)")

    with pytest.raises(UserError, match="No space left"):
        work(tasks_of(plan(seeds=list(range(9)))), job)


def test_where_all_tasks_stand_is_told_and_adds_up() -> None:
    seen: list[tuple[int, int, int, int]] = []

    def look(state: State) -> None:
        seen.append((state.waiting, len(state.running), state.done, state.failed))
        assert sum(state.left.values()) == state.waiting + len(state.running)

    def job(task: Task, count: int) -> Done:
        return Done(NOTHING, FAILED, "no") if task.name == "r1" else Done(NOTHING, seconds=2.0)

    tasks = tasks_of(plan(seeds=list(range(8))))
    work(tasks, job, state=look)
    assert all(sum(one) == 8 for one in seen)
    assert max(running for _, running, _, _ in seen) <= 2 * Threads.capacity
    assert seen[-1] == (0, 0, 7, 1)
