"""Is what a results folder says so? Everything that can be made again from what is here is made again and
compared, thing by thing.

Each finding *holds*, is *contradicted*, or *cannot be checked here*, and says why. With the store: files
against their checksums, every metric from the stored scores and outputs, and where it is asked for the scores
from the outputs and the outputs from the weights. Without: what the files alone can show (the leaderboard,
the page and pictures from the rows, rows against the suite and against one another). Nothing is made,
repaired or removed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oodbench.core.errors import ANYTHING, UserError
from oodbench.evaluation.leaderboard import over_trials
from oodbench.evaluation.rows import results_file
from oodbench.runs.findings import UNCHECKED, Finding, damaged
from oodbench.runs.folder import SUITE, Contents, ResultsFolder, Written, page_of, verdicts_of
from oodbench.runs.per_sample import pictures_of
from oodbench.runs.remote import opened_at
from oodbench.runs.reopen import Opened, plain_suite, reopened, suite_text
from oodbench.runs.verify_files import (
    check_claims,
    check_columns,
    check_leaderboard,
    check_rows,
    check_versions,
    made_by_this,
)
from oodbench.runs.verify_page import Made, check_page
from oodbench.runs.verify_pictures import check_pictures
from oodbench.runs.verify_plan import check_keys, check_suite
from oodbench.runs.verify_records import check_records
from oodbench.runs.verify_remade import check_outputs, check_scores
from oodbench.runs.verify_store import check_checksums, check_metrics

if TYPE_CHECKING:
    import pandas as pd

AGAIN = {
    "scores": "were not made again from the stored outputs; --scores does, in seconds",
    "outputs": "were not extracted again from the stored weights; --outputs does",
}
"""What is made again only where it is asked for."""


def folder(
    path: Path,
    store: str | Path | None = None,
    plugins: Sequence[Path] = (),
    *,
    remake: Sequence[str] = (),
    device: str = "cpu",
) -> list[Finding]:
    """Everything that can be said of a results folder.

    Args:
        path: the folder, or its results.csv.
        store: folder or URL of the store; default: the one beside the folder, where one is.
        plugins: files of the components that the suite names.
        remake: of AGAIN, what to make again. ``outputs`` includes ``scores``.
        device: where it is made.

    Returns:
        The findings.

    Raises:
        UserError: there is no results.csv to speak of, or it is damaged; `store` is none.
    """
    here = ResultsFolder.of(path)
    rows = here.rows()
    board = over_trials(rows)
    if store is not None:
        opened_at(store)
    opened, found = _opened(here, store, plugins)
    columns = check_columns(results_file(here.path))
    found = [check_rows(rows), *columns, check_leaderboard(here.path, board), *found]
    metrics: list[Finding] = []
    if opened is not None:
        metrics = check_metrics(opened, rows)
        found += [
            check_suite(opened, rows),
            *check_claims(here.path, opened.suite, rows),
            check_keys(opened, rows),
            check_checksums(opened),
            *metrics,
        ]
    for name in ("timing", "history"):
        found += check_records(here, opened, rows, name)
    contents, why = _contents(here, rows, opened, [f.why for f in metrics if f.state == UNCHECKED])
    made = None
    if contents is not None:
        again = Written(board, verdicts_of(rows, contents.suite))
        made = Made(page_of([contents], again), contents.timing is not None)
    same = made_by_this(here)
    found += check_page(here, board, made, why, same=same)
    found += check_pictures(here, rows, contents, same=same)
    found += _made_again(opened, remake, device)
    return [*found, check_versions(here)]


def _opened(
    here: ResultsFolder, store: str | Path | None, plugins: Sequence[Path]
) -> tuple[Opened | None, list[Finding]]:
    """The folder with its suite planned anew, or why it cannot be."""
    try:
        plain_suite(here.path)
    except UserError as error:
        return None, [damaged(here.path / SUITE, error)]
    try:
        return reopened(here.path, store, plugins), []
    except UserError as error:
        why = "; ".join(str(error).splitlines()[:2])
        return None, [
            Finding(UNCHECKED, "suite and keys", why),
            Finding(UNCHECKED, "metrics", "the suite cannot be planned here"),
        ]


def _contents(
    here: ResultsFolder, rows: pd.DataFrame, opened: Opened | None, unread: Sequence[str]
) -> tuple[Contents | None, str]:
    """What page and pictures are made from, and what it lacks: per-sample scores where some are `unread`.
    None where a file of it is damaged or the suite is not at hand, which are told elsewhere."""
    if opened is None:
        return None, "the suite cannot be planned here"
    try:
        contents = Contents(
            rows,
            opened.suite,
            suite_text(here.path),
            timing=here.frame("timing"),
            history=here.frame("history"),
            environment=here.environment(),
            pictures=pictures_of(opened.plan),
        )
    except UserError:
        return None, "a file that it is made from is damaged"
    done = set(rows.loc[rows["status"] == "ok", "run_key"])
    planned = {run.key for run in opened.plan.runs}
    if unread or not done <= planned:
        return contents, unread[0] if unread else "not every run can be planned here"
    with contextlib.suppress(*ANYTHING):  # an artefact whole by its checksums may hold anything
        contents.samples = opened.samples(done)
        return contents, ""
    return contents, "the store cannot be read"


def _made_again(opened: Opened | None, remake: Sequence[str], device: str) -> list[Finding]:
    wanted = {"scores", *remake} if "outputs" in remake else set(remake)
    found: list[Finding] = []
    for what, check in (("scores", check_scores), ("outputs", check_outputs)):
        if opened is None or opened.store is None:
            found.append(Finding(UNCHECKED, what, "the store is not here; name it with --store"))
        elif what in wanted:
            found += check(opened, device)
        else:
            found.append(Finding(UNCHECKED, what, AGAIN[what]))
    return found
