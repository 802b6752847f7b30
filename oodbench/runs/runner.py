"""The straight line: suite -> plan -> weights -> (tuning) -> Outputs -> scores -> rows -> leaderboard,
resumable at every artefact.

What was paid for (weights, outputs, scores) is stored by key and made only where it is missing; rows, tables
and pictures are made again each time, so they are never stale."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import ANYTHING, reason_of
from oodbench.core.progress import Reporter
from oodbench.runs.engine import Engine
from oodbench.runs.folder import HISTORY, TIMING, Contents, ResultsFolder
from oodbench.runs.held import history
from oodbench.runs.machine import pick_device, provenance
from oodbench.runs.measure import columns, failed_rows, rows_of
from oodbench.runs.per_sample import DRAWN, pictures_of, samples_of
from oodbench.runs.store import CannotKeep, Store
from oodbench.suite.load import load_suite
from oodbench.suite.plan import Plan, make_plan
from oodbench.suite.suite import Suite
from oodbench.training.processes import join

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
    command: str = "",
) -> Results:  # fmt: skip
    """Run a suite: train what is missing, extract, score, and write tables, plots and the page under
    ``<results>/<suite name>/``.

    Raises UserError for a mistake of the user's before any work is done; a cell that fails becomes a row with
    its reason."""
    reporter = reporter or Reporter(quiet=True)
    suite = suite if isinstance(suite, Suite) else load_suite(suite)
    folder = ResultsFolder.writable(Path(results), suite.name)
    team, device = join(pick_device(device))
    engine = Engine(_store(results, store, reporter), device, reporter, team)
    plan = make_plan(suite, skip_missing=skip_missing)
    for line in plan.skipped:
        reporter.warn(f"skipped: {line}")
    contents = _work(plan, engine, reporter)
    contents.environment = provenance(device) | {"command": command}
    contents.formats = ("png",) if plots else ()
    with reporter.stage("plots and page" if plots else "page", 1) as advance:
        written = folder.write(contents)
        advance(1)
    assert contents.timing is not None
    failed = int((contents.rows["status"] == "failed").sum())
    return Results(
        folder.path, contents.rows, contents.timing, written.leaderboard, written.claims, failed, engine.made
    )


def _work(plan: Plan, engine: Engine, reporter: Reporter) -> Contents:
    """Every run of a plan made and measured; one that fails becomes failed rows."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    timing: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    with reporter.stage(f"suite {plan.suite.name}", len(plan.runs)) as advance:
        for one in plan.runs:
            try:
                held = engine.work(one)
                found = rows_of(held), held.timing(), samples_of(held, DRAWN)
            except CannotKeep:
                raise
            except ANYTHING as error:  # a user's code may raise anything; the other runs are not its fault
                reason = reason_of(error)
                reporter.warn(f"{one.title}: {reason}")
                rows += failed_rows(one, reason)
            else:
                rows += found[0]
                timing += found[1]
                samples += found[2]
            advance(1, one.title)
    epochs = [record for one in plan.runs for record in history(engine.bench.store, one)]
    return Contents(
        columns(rows),
        plan.suite,
        timing=pd.DataFrame(timing, columns=list(TIMING)),
        history=pd.DataFrame(epochs, columns=list(HISTORY)).drop_duplicates(),
        samples=pd.DataFrame(samples),
        pictures=pictures_of(plan),
    )


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
        with contextlib.suppress(*ANYTHING):  # the first process says it, in the run's row
            engine.weights.make(one)


def _store(results: str | Path, store: str | Path | None, reporter: Reporter) -> Store:
    return Store(Path(store) if store else Path(results) / ".store", reporter.warn)
