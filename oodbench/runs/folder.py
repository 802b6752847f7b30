"""What a run leaves under ``<results>/<suite>/``: CSVs, the resolved suite, plots and the page."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.runs.engine import Engine, LazyOutputs, Stored, provenance
from oodbench.runs.measure import columns
from oodbench.suite.parse import Suite
from oodbench.suite.plan import Plan
from oodbench.suite.run import Run
from oodbench.suite.sets import OOD_SHIFTS

if TYPE_CHECKING:
    import pandas as pd

TIMING = ("run_key", "pair", "split", "network", "method", "seed", "scorer", "ood", "stage", "n", "seconds", "bytes")
"""The columns of timing.csv. Seconds stand here and not in results.csv, which is byte-identical from run to run."""

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
            f"results folder {folder}: cannot be written ({error.strerror or error}); choose another with --results"
        ) from None
    return folder


def samples_of(
    run: Run, outputs: LazyOutputs, scores: Mapping[str, Mapping[str, Stored]], most: int
) -> list[dict[str, Any]]:
    """Per-sample values for pictures: each scorer's scores, and maximal probability and logit, of ID test and OOD sets."""
    found: list[dict[str, Any]] = []
    common = {
        "pair": run.pair.label,
        "split": "" if run.pair.split is None else run.pair.split,
        "network": run.network.label if run.network else "",
        "method": run.method.label,
        "seed": run.seed,
    }
    for s in run.sets.values():
        if s.shift not in ("test", *OOD_SHIFTS):
            continue
        logits = outputs.of(s.name).logits
        keep = torch.linspace(0, len(logits) - 1, min(len(logits), most)).round().long()
        clean = [p.label for p in run.scorers if not p.attack and p.label in scores]
        values: dict[str, Tensor] = {label: scores[label][s.name].scores[keep] for label in clean}
        values["max_probability"] = torch.softmax(logits[keep].double(), dim=1).amax(dim=1)
        values["max_logit"] = logits[keep].amax(dim=1)
        place = {"ood": "" if s.shift == "test" else s.name, "shift": "id" if s.shift == "test" else s.shift}
        found += [
            common | place | {"scorer": label, "value": v.double().numpy(), "index": keep.numpy()}
            for label, v in values.items()
        ]
    return found


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
    from oodbench.report.page import page as report
    from oodbench.report.plots import scores as plots

    frame = columns(rows)
    board = leaderboard.leaderboard(frame)
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
        page = report.page(
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


def pictures_of(plan: Plan) -> Callable[[str, str, str, Sequence[int]], list[Any]]:
    """The images of a pair's sets (ID test under ""), as the network sees them, for the page: (H, W, C) uint8."""
    runs = {
        (r.pair.label, "" if r.pair.split is None else str(r.pair.split)): r for r in plan.runs if r.data is not None
    }

    def read(pair: str, split: str, ood: str, indices: Sequence[int]) -> list[Any]:
        run = runs.get((pair, split))
        samples = run.sets[ood or "test"].samples if run is not None else None
        if run is None or run.data is None or samples is None or samples.kind != "image":
            return []
        images = samples.read(indices, run.data.geometry)
        if images.dtype != torch.uint8:
            images = (images * 255).round().clamp(0, 255).to(torch.uint8)
        return list(images.permute(0, 2, 3, 1).numpy())

    return read


def csv(frame: pd.DataFrame) -> str:
    """A frame as CSV text: full precision, empty for missing, one line end on every machine."""
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.10g")


def replace_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
