"""The straight line: suite -> plan -> weights -> (tuning) -> Outputs -> scores -> rows -> leaderboard,
resumable at every artefact.

What was paid for (weights, outputs, scores) is stored by key and made only where it is missing; rows, tables
and pictures are made again each time, so they are never stale."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import ANYTHING, UserError, reason_of
from oodbench.core.progress import Reporter
from oodbench.data.sources.local_copy import NoCopy
from oodbench.runs import machine
from oodbench.runs.beats import listening
from oodbench.runs.board import Board, usual_seconds
from oodbench.runs.drafts import me
from oodbench.runs.engine import KINDS, Engine
from oodbench.runs.execution import Execution
from oodbench.runs.executors.serial import Here
from oodbench.runs.fleet import Fleet, Task, tasks_of
from oodbench.runs.folder import ResultsFolder
from oodbench.runs.gathered import Gathered
from oodbench.runs.held import history
from oodbench.runs.jobs import FAILED, NOTHING, REFUSED, Done, Terms, answer_of, carry_out
from oodbench.runs.machine import pick_device
from oodbench.runs.measure import failed_rows
from oodbench.runs.remote import place_of, store_at
from oodbench.runs.remote_store import RemoteStore
from oodbench.runs.store import CannotKeep, Store
from oodbench.suite.load import load_suite
from oodbench.suite.plan import Plan, make_plan
from oodbench.suite.run import Run
from oodbench.suite.suite import Suite
from oodbench.training.processes import Parted, join

if TYPE_CHECKING:
    import pandas as pd

RESULTS = "runs"
"""Where results go unless told otherwise."""


@dataclass
class Results:
    """What a run leaves behind: the folder with the files, the frames, and how many rows failed."""

    folder: Path
    rows: pd.DataFrame
    timing: pd.DataFrame
    leaderboard: pd.DataFrame
    claims: pd.DataFrame
    """The verdicts on the suite's claims, empty where it states none."""
    failed: int
    made: dict[str, int] = field(default_factory=dict)
    """How many artefacts of each kind were made, not found."""


def run(
    suite: Suite | str | Path, *, results: str | Path = RESULTS, store: str | Path | None = None,
    device: str = "auto", skip_missing: bool = False, plots: bool = True, reporter: Reporter | None = None,
    how: Execution = Execution(),  # noqa: B008
) -> Results:  # fmt: skip
    """Run a suite: train what is missing, extract, score, and write tables, plots and the page under
    ``<results>/<suite name>/``.

    Raises UserError for a mistake of the user's before any work is done; a cell that fails becomes a row with
    its reason. `how` says who carries out the runs (see `Execution`): the rows are the same."""
    reporter = reporter or Reporter(quiet=True)
    suite = suite if isinstance(suite, Suite) else load_suite(suite)
    folder = ResultsFolder.writable(Path(results), suite.name)
    team, device = join(device if how.elsewhere else pick_device(device))
    threads = how.threads_per_run if how.distributed or how.threads else None
    with machine.threads(threads), reporter.hearing(NoCopy):
        kept = _store(results, store, reporter)
        plan = make_plan(suite, skip_missing=skip_missing)
        how.check(plan)
        for line in plan.skipped:
            reporter.warn(f"skipped: {line}")
        work = _Work(plan, Engine(kept, device, reporter, team), reporter, skip_missing)
        with Gathered(folder.path) as gathered:
            about = work.distributed(how, gathered) if how.distributed else work.here(gathered)
            contents = gathered.contents(plan)
            contents.environment = machine.provenance(device) | about | {"command": how.command}
            contents.formats = ("png",) if plots else ()
            with reporter.stage("plots and page" if plots else "page", 1) as advance:
                written = folder.write(contents)
                advance(1)
    assert contents.timing is not None
    failed = int((contents.rows["status"] == "failed").sum())
    return Results(
        folder.path, contents.rows, contents.timing, written.leaderboard, written.claims, failed, work.made
    )


class _Work:
    """The runs of a plan, made and measured; one that fails becomes failed rows."""

    def __init__(self, plan: Plan, engine: Engine, reporter: Reporter, skip_missing: bool) -> None:
        self.plan, self.engine, self.reporter, self.skip_missing = plan, engine, reporter, skip_missing
        self.made = dict.fromkeys(KINDS, 0)
        self._warned: set[str] = set()

    def here(self, gathered: Gathered) -> dict[str, Any]:
        """By this process, one after the other."""
        with self.reporter.stage(f"suite {self.plan.suite.name}", len(self.plan.runs)) as advance:

            def told(task: Task, done: Done) -> None:
                self._keep(gathered, task, done)
                advance(1, task.title)

            Fleet(Here(), lambda task: (self._carry_out, (task.run,)), told).work(
                tasks_of(self.plan, apart=False)
            )
        self.made = self.engine.made
        return {"executor": Here.name}

    def _carry_out(self, run: Run) -> Done:
        store = self.engine.bench.store
        try:
            return Done(answer_of(self.engine, run))
        except (CannotKeep, Parted):
            raise
        except ANYTHING as error:  # a user's code may raise anything; the other runs are not its fault
            return Done(NOTHING._replace(history=history(store, run)), FAILED, reason_of(error))

    def distributed(self, how: Execution, gathered: Gathered) -> dict[str, Any]:
        """By other processes. Raises UserError where none of them would carry out any run."""
        store = self.engine.bench.store
        seen = not how.elsewhere or not isinstance(store, RemoteStore)  # the folder of this machine, by all
        with _token(store) as token, listening(store.root if seen else None) as beats:
            terms = Terms.of(
                self.plan.suite, store=place_of(store), token=token, beats=beats,
                device=self.engine.bench.device, skip_missing=self.skip_missing, cpus=how.threads_per_run,
            )  # fmt: skip

            def call(task: Task) -> tuple[Any, tuple[str]]:
                place = {k: str(v) for k, v in task.run.place.items()}
                job = {"name": task.name, "place": place, "part": task.part}
                return carry_out, (terms.text(expected=task.part or task.run.expected, **job),)

            expected = usual_seconds(store, self.plan)
            board = Board(self.reporter, f"suite {self.plan.suite.name}", beats, expected)
            refused: list[str] = []

            def told(task: Task, done: Done) -> None:
                self._keep(gathered, task, done)
                board.ended(task, done)
                if done.wrong == REFUSED and not task.part:
                    refused.append(done.reason)

            with how.executor(store.root / "jobs") as executor, board.shown():
                Fleet(executor, call, told, board.look).work(tasks_of(self.plan))
        if refused and len(refused) == len(self.plan.runs):
            raise UserError(f"no machine would carry out any run: {refused[0]}")
        return {"executor": executor.name, "threads": how.threads_per_run}

    def _keep(self, gathered: Gathered, task: Task, done: Done) -> None:
        """What a task has brought; each warning is said once."""
        if done.wrong == REFUSED:  # it names the machine, and is no fault of the run
            self._warn(done.reason)
        elif done.wrong and not task.part:
            self._warn(f"{task.title}: {done.reason}")
        for line in done.warnings:
            self._warn(line)
        for kind, count in done.made.items():
            self.made[kind] += count
        if not task.part:
            answer = done.answer
            if done.wrong:
                answer = answer._replace(rows=failed_rows(task.run, done.reason))
            gathered.put(int(task.name[1:]), answer)

    def _warn(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            self.reporter.warn(line)


@contextlib.contextmanager
def _token(store: Store) -> Iterator[str]:
    """A file in a store's folder, by which a worker sees that its folder of that name is the same; empty
    where the store is no folder."""
    if isinstance(store, RemoteStore):
        yield ""
        return
    token = store.root.absolute() / "tmp" / f"token-{me()['host']}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    token.touch()
    try:
        yield str(token)
    finally:
        token.unlink(missing_ok=True)


def assist(
    suite: Suite, *, results: str | Path = RESULTS, store: str | Path | None = None, device: str = "auto",
    skip_missing: bool = False,
) -> None:  # fmt: skip
    """What every process but the first does where torchrun started several: take part in the trainings whose
    recipe asks for it."""
    team, device = join(pick_device(device))
    reporter = Reporter(quiet=True)
    engine = Engine(_store(results, store, reporter), device, reporter, team)
    for one in make_plan(suite, skip_missing=skip_missing).runs:
        try:
            engine.weights.make(one)
        except Parted:
            raise
        except ANYTHING:  # the first process says it, in the run's row
            continue


def _store(results: str | Path, store: str | Path | None, reporter: Reporter) -> Store:
    return store_at(store or Path(results) / ".store", reporter.warn)
