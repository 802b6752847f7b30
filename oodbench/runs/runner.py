"""The straight line: suite -> plan -> weights -> (tuning) -> Outputs -> scores -> rows -> leaderboard,
resumable at every artefact.

What was paid for (weights, outputs, scores) is stored by key and made only where it is missing; rows, tables
and pictures are made again each time, so they are never stale."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from oodbench.core.errors import UserError
from oodbench.core.progress import Reporter
from oodbench.runs import folder as writing
from oodbench.runs.engine import Engine
from oodbench.runs.folder import Results
from oodbench.runs.machine import pick_device
from oodbench.runs.measure import failed_rows, rows_of
from oodbench.runs.per_sample import samples_of
from oodbench.runs.store import Store
from oodbench.suite.load import load_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.suite import Suite
from oodbench.training.processes import join

_SAMPLES_PER_SET = 2_000
"""Plots and pages draw at most so many evenly spaced samples of each set; metrics always use all."""


def run(
    suite: Suite | str | Path, *, results: str | Path = "results", store: str | Path | None = None,
    device: str = "auto",
    skip_missing: bool = False, reporter: Reporter | None = None, command: str = "",
) -> Results:  # fmt: skip
    """Run a suite: train what is missing, extract, score, and write tables, plots and the page under
    ``<results>/<suite name>/``.

    Raises UserError for a mistake of the user's before any work is done; a cell that fails becomes a row with
    its reason."""
    reporter = reporter or Reporter(quiet=True)
    suite = suite if isinstance(suite, Suite) else load_suite(suite)
    folder = writing.writable_folder(Path(results), suite.name)
    team, device = join(pick_device(device))
    engine = Engine(_store(results, store, reporter), device, reporter, team)
    plan = make_plan(suite, skip_missing=skip_missing)
    for line in plan.skipped:
        reporter.warn(f"skipped: {line}")

    rows: list[dict[str, Any]] = []
    timing: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    with reporter.stage(f"suite {suite.name}", len(plan.runs)) as advance:
        for one in plan.runs:
            try:
                engine.weights(one)
                one = engine.tuned(one)
                outputs = engine.outputs(one)
                scores, reasons = engine.scores(one, outputs)
            except UserError as error:
                reporter.warn(f"{one.title}: {error}")
                rows += failed_rows(one, str(error))
            else:
                rows += rows_of(one, outputs, scores, reasons)
                timing += engine.timing(one, scores)
                samples += samples_of(one, outputs, scores, _SAMPLES_PER_SET)
            advance(1, one.title)
    return writing.write(folder, suite, plan, rows, timing, samples, engine, command)


def assist(
    suite: Suite, *, results: str | Path = "results", store: str | Path | None = None, device: str = "auto",
    skip_missing: bool = False,
) -> None:  # fmt: skip
    """What every process but the first does where torchrun started several: take part in the trainings whose
    recipe asks for it."""
    team, device = join(pick_device(device))
    reporter = Reporter(quiet=True)
    engine = Engine(_store(results, store, reporter), device, reporter, team)
    for one in make_plan(suite, skip_missing=skip_missing).runs:
        with contextlib.suppress(UserError):  # the first process says it, in the run's row
            engine.weights(one)


def _store(results: str | Path, store: str | Path | None, reporter: Reporter) -> Store:
    return Store(Path(store) if store else Path(results) / ".store", reporter.warn)
