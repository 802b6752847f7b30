"""The page and the pictures of results folders that lie there already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oodbench.core.errors import UserError
from oodbench.runs.folder import Contents, ResultsFolder, page_of
from oodbench.runs.per_sample import pictures_of
from oodbench.runs.reopen import plain_suite, reopened, suite_of, suite_text


def contents_of(
    path: Path, store: str | Path | None = None, plugins: Sequence[Path] = ()
) -> tuple[Contents, list[str]]:
    """What a results folder and its store hold, and what they lack, a line each."""
    folder = ResultsFolder.of(path)
    contents = Contents(folder.rows(), timing=folder.frame("timing"), history=folder.frame("history"))
    contents.environment = folder.environment()
    missing: list[str] = []
    raw = plain_suite(folder.path)  # a damaged file is an error; what it names may be elsewhere
    try:
        contents.suite = suite_of(folder.path, plugins, raw)
        contents.suite_text = suite_text(folder.path)
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
    paths: Sequence[Path],
    store: str | Path | None = None,
    plugins: Sequence[Path] = (),
    *,
    plots: bool = False,
) -> tuple[str, list[str]]:
    """The page of results folders, and what it had to leave out, a line each.

    With the store at hand it holds per-sample views. With `plots` every picture is drawn too, as PNG and
    SVG, under ``plots/`` of each folder."""
    found, missing = [], []
    for path in paths:
        contents, lacks = contents_of(path, store, plugins)
        found.append(contents)
        missing += lacks
    text = page_of(found)
    for path, contents in zip(paths, found, strict=True) if plots else ():
        ResultsFolder.of(path).draw(contents, ("png", "svg"))
    return text, missing


def _first(error: UserError) -> str:
    return str(error).splitlines()[0]
