"""What a run leaves under ``<results>/<suite>/``: CSVs, the resolved suite, plots and the page."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import UserError
from oodbench.core.files import replace_text
from oodbench.runs.engine import Engine
from oodbench.runs.machine import provenance
from oodbench.runs.measure import columns
from oodbench.runs.per_sample import pictures_of
from oodbench.suite.plan import Plan
from oodbench.suite.suite import Suite

if TYPE_CHECKING:
    import pandas as pd

TIMING = (
    "run_key",
    "pair",
    "split",
    "network",
    "method",
    "seed",
    "scorer",
    "ood",
    "stage",
    "n",
    "seconds",
    "bytes",
)
"""The columns of timing.csv. Seconds stand here and not in results.csv, which is byte-identical from run to
run."""

HISTORY = ("run_key", "pair", "split", "network", "method", "seed", "epoch", "loss", "lr", "val_accuracy")
"""The columns of history.csv: each epoch of each training, those of an ensemble's members too."""


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


def writable_folder(results: Path, name: str) -> Path:
    """The suite's results folder, made and probed before any work."""
    folder = results / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"results folder {folder}: cannot be written ({error.strerror or error}); choose another with"
            " --results"
        ) from None
    return folder


def write(
    folder: Path,
    suite: Suite,
    plan: Plan,
    rows: Sequence[Mapping[str, Any]],
    timing: Sequence[Mapping[str, Any]],
    samples: Sequence[Mapping[str, Any]],
    engine: Engine,
    command: str,
) -> Results:
    """Write every file of a run, each atomically."""
    import pandas as pd

    from oodbench.evaluation import leaderboard
    from oodbench.evaluation import verdicts as claims
    from oodbench.report import plots
    from oodbench.report.page import page as report

    frame = columns(rows)
    board = leaderboard.over_trials(frame)
    times = pd.DataFrame(list(timing), columns=list(TIMING))
    replace_text(folder / "suite.yaml", suite.dump())
    replace_text(folder / "results.csv", csv(frame))
    replace_text(folder / "timing.csv", csv(times))
    history = [record for run in plan.runs for record in engine.history(run)]
    replace_text(folder / "history.csv", csv(pd.DataFrame(history, columns=list(HISTORY)).drop_duplicates()))
    replace_text(folder / "leaderboard.csv", csv(board))
    verdicts = claims.judge(frame, suite.claims, {m.label: m.spec.name for m in suite.methods})
    if suite.claims:
        replace_text(folder / "claims.csv", csv(verdicts))
    environment = provenance(engine.device) | {"command": command}
    replace_text(folder / "environment.json", json.dumps(environment, indent=1, sort_keys=True) + "\n")
    per_sample = pd.DataFrame(list(samples))
    with engine.reporter.stage("plots and page", 2) as advance:
        plots.draw_all(frame, per_sample, folder / "plots", times)
        advance(1)
        page = report.render(
            frame,
            board,
            per_sample,
            suite_text=suite.dump(),
            environment=environment,
            timing=times,
            pictures=pictures_of(plan),
            claims=verdicts,
        )
        replace_text(folder / "report.html", page)
        advance(1)
    failed = int((frame["status"] == "failed").sum())
    return Results(folder, frame, times, board, verdicts, failed, dict(engine.made))


def csv(frame: pd.DataFrame) -> str:
    """A frame as CSV text: full precision, empty for missing, one line end on every machine."""
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.10g")
