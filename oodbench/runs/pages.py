"""A page from a results folder that lies there already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import UserError
from oodbench.evaluation.rows import results_file
from oodbench.runs.per_sample import pictures_of
from oodbench.runs.reopen import Opened, reopened

if TYPE_CHECKING:
    pass


def report(
    paths: Sequence[Path], store: Path | None = None, plugins: Sequence[Path] = ()
) -> tuple[str, list[str]]:
    """The page of results folders, and what it had to leave out, a line each. With the store at hand it holds
    per-sample views."""
    import json

    import pandas as pd

    from oodbench.evaluation.leaderboard import over_trials
    from oodbench.evaluation.rows import read
    from oodbench.report.page import page

    rows = read(paths)
    folders = [results_file(path).parent for path in paths]
    opened: list[Opened] = []
    missing: list[str] = []
    for folder in folders:
        try:
            one = reopened(folder, store, plugins)
        except UserError as error:
            missing.append(f"{folder}: no per-sample views: {str(error).splitlines()[0]}")
            continue
        if one.store is None:
            missing.append(f"{folder}: no per-sample views: its store is not here; name it with --store")
        opened.append(one)
    samples = [o.samples() for o in opened]
    missing += [
        f"{o.folder}: no per-sample views: the store holds no run of it"
        for o, found in zip(opened, samples, strict=True)
        if o.store and found.empty
    ]
    samples = [s for s in samples if len(s)]
    timing = [
        pd.read_csv(f / "timing.csv", keep_default_na=False) for f in folders if (f / "timing.csv").is_file()
    ]
    environment: dict[str, Any] = {}
    for folder in folders:
        file = folder / "environment.json"
        found = json.loads(file.read_text()) if file.is_file() else {}
        environment |= found if len(folders) == 1 else {f"{folder.name}: {k}": v for k, v in found.items()}
    suites = [(f / "suite.yaml").read_text(encoding="utf-8") for f in folders if (f / "suite.yaml").is_file()]
    pictures = [pictures_of(o.plan) for o in opened]

    def read_pictures(pair: str, split: str, ood: str, indices: Sequence[int]) -> list[Any]:
        return next((images for p in pictures if (images := p(pair, split, ood, indices))), [])

    text = page.render(
        rows,
        over_trials(rows),
        pd.concat(samples, ignore_index=True) if samples else None,
        suite_text="\n---\n".join(suites),
        environment=environment,
        timing=pd.concat(timing, ignore_index=True) if timing else None,
        pictures=read_pictures,
    )
    return text, missing
