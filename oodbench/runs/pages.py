"""The page and the pictures of results folders that lie there already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oodbench.core.errors import UserError
from oodbench.runs.folder import PLOTS, Contents, ResultsFolder, costs_of, page_of
from oodbench.runs.per_sample import pictures_of
from oodbench.runs.reopen import reopened, suite_of


def contents_of(
    path: Path, store: Path | None = None, plugins: Sequence[Path] = ()
) -> tuple[Contents, list[str]]:
    """What a results folder and its store hold, and what they lack, a line each."""
    folder = ResultsFolder.of(path)
    contents = Contents(folder.rows(), timing=folder.frame("timing"), history=folder.frame("history"))
    contents.environment = folder.environment()
    missing: list[str] = []
    try:
        contents.suite = suite_of(folder.path, plugins)
    except UserError as error:
        missing.append(f"{folder.path}: no claims, no figures of its suite: {_first(error)}")
    try:
        opened = reopened(path, store, plugins)
    except UserError as error:
        missing.append(f"{folder.path}: no per-sample views: {_first(error)}")
        return contents, missing
    contents.pictures = pictures_of(opened.plan)
    if opened.store is None:
        missing.append(f"{folder.path}: no per-sample views: its store is not here; name it with --store")
        return contents, missing
    contents.samples = opened.samples()
    if contents.samples.empty:
        missing.append(f"{folder.path}: no per-sample views: the store holds no run of it")
    return contents, missing


def report(
    paths: Sequence[Path], store: Path | None = None, plugins: Sequence[Path] = (), *, plots: bool = False
) -> tuple[str, list[str]]:
    """The page of results folders, and what it had to leave out, a line each.

    With the store at hand it holds per-sample views. With `plots` every picture is drawn too, as PNG and
    SVG, under ``plots/`` of each folder."""
    import pandas as pd

    from oodbench.report.plots import draw_all

    found, missing = [], []
    for path in paths:
        contents, lacks = contents_of(path, store, plugins)
        found.append(contents)
        missing += lacks
        if plots:
            samples = pd.DataFrame() if contents.samples is None else contents.samples
            folder = ResultsFolder.of(path).path / PLOTS
            draw_all(
                contents.rows, samples, folder, costs_of([contents], contents.rows), formats=("png", "svg")
            )
    return page_of(found), missing


def _first(error: UserError) -> str:
    return str(error).splitlines()[0]
