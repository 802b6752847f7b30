"""One suite's rows made on several machines become one folder; one folder becomes a light one to publish."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import UserError, shown
from oodbench.core.files import draft_of, remove_left
from oodbench.core.text_files import refused, there
from oodbench.evaluation.rows import read
from oodbench.evaluation.tables import AGAIN, table
from oodbench.runs.folder import SUITE, Contents, ResultsFolder, first_pictures, joined
from oodbench.runs.pages import contents_of
from oodbench.runs.reopen import plain_suite
from oodbench.suite.parse import parse_suite
from oodbench.suite.suite import Suite

if TYPE_CHECKING:
    import pandas as pd


def folders(
    folders: Sequence[Path], into: Path, plugins: Sequence[Path] = (), *, compressed: bool = True
) -> pd.DataFrame:
    """Write into `into` what a run of the whole suite would have left there, from folders that hold parts of
    it, but for pictures. Returns the rows.

    Per-sample views of the page come from the store beside each folder, where one is there.
    `plugins` take the place of those that the suites name."""
    rows = read(folders)
    suites = list(dict.fromkeys(rows["suite"]))
    if len(suites) > 1:
        raise UserError(f"cannot merge results of different suites: {', '.join(suites)}")
    target = _free(into)
    parts = [ResultsFolder.of(path) for path in folders]
    contents = Contents(
        rows,
        _merged_suite(parts, plugins),
        timing=_once(parts, "timing"),
        history=_trained(parts),
        environment=_merged_environment(_told_apart(parts)),
        compressed=compressed,
    )
    each = [contents_of(path, plugins=plugins)[0] for path in folders]
    contents.samples, contents.pictures = _samples(each), first_pictures(each)
    with _whole(target) as draft:
        ResultsFolder(draft).write(contents)
    return rows


def _free(into: Path) -> Path:
    """Where the merged folder goes, links followed. UserError where anything is there already."""
    target = into.resolve()
    if target.is_dir():
        if table(target, "results") is not None:
            raise UserError(f"{into}: holds a results.csv already; choose an empty folder")
        held = next(target.iterdir(), None)
        if held is not None:
            raise UserError(f"{into}: is not empty, it holds {held.name}; choose an empty or a new folder")
    elif there(target):
        raise UserError(f"{into}: is no folder; choose an empty or a new one")
    return target


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A folder to write into, beside its place, which it takes when the block ends well; else nothing is
    left."""
    remove_left(target)
    draft = draft_of(target)
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror}); choose another folder with --into"
        ) from None
    try:
        yield draft
        os.rename(draft, target)  # an empty folder makes way
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _once(parts: Sequence[ResultsFolder], name: str) -> pd.DataFrame | None:
    """A table of all folders, no row twice."""
    found = joined(p.frame(name) for p in parts)
    return None if found is None else found.drop_duplicates()


def _trained(parts: Sequence[ResultsFolder]) -> pd.DataFrame | None:
    """The history of all folders. Of an epoch of which older versions told less (`acted` was no column), the
    fuller row stands."""
    found = joined(p.frame("history") for p in parts)
    if found is None:
        return None
    fuller = found.sort_values("acted", na_position="last", kind="stable")
    return fuller.drop_duplicates([c for c in found if c != "acted"]).sort_index()


def _samples(each: Sequence[Contents]) -> pd.DataFrame | None:
    """Per-sample scores of all folders, those of no run twice."""
    found = joined(c.samples for c in each if c.samples is not None and len(c.samples))
    if found is None:
        return None
    return found.drop_duplicates([c for c in found if c not in ("value", "index")], ignore_index=True)


def _told_apart(parts: Sequence[ResultsFolder]) -> dict[str, dict[str, Any]]:
    """Environments by the shortest end of each folder's path that no other has: results of one suite lie in
    folders of one name."""
    paths = [p.path.resolve() for p in parts]
    for n in range(1, max(len(p.parts) for p in paths) + 1):
        names = ["/".join(p.parts[-n:]) for p in paths]
        if len(set(names)) == len(set(paths)):
            break
    return {name: part.environment() for name, part in zip(names, parts, strict=True)}


def _merged_environment(each: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What all folders' environments say, and of the rest what each says."""
    if len(each) == 1:
        return dict(next(iter(each.values())))
    found: dict[str, Any] = {"merged from": ", ".join(each)}
    for key in sorted({k for e in each.values() for k in e}):
        values = [e.get(key) for e in each.values()]
        same = all(v == values[0] for v in values)
        found |= {key: values[0]} if same else {f"{key} ({name})": e.get(key) for name, e in each.items()}
    return found


def _merged_suite(parts: Sequence[ResultsFolder], plugins: Sequence[Path]) -> Suite | None:
    """The suites of all folders as one, where they differ in nothing but seeds and pairs (splits)."""
    found = [(p.path / SUITE, suite) for p in parts if (suite := plain_suite(p.path))]
    if not found:
        return None
    first, merged = found[0]
    for file, suite in found:
        for key in _PARTED:
            if not isinstance(suite.get(key), list):
                raise refused(file, f"{key} should be a list, got {shown(suite.get(key))}", AGAIN)
        differ = [k for k in sorted({*merged, *suite} - {*_PARTED}) if merged.get(k) != suite.get(k)]
        if differ:
            raise UserError(
                f"{file}: {differ[0]} differs from the other folders' suites; only seeds and pairs may"
            )
        for key in _PARTED:
            merged = {**merged, key: [*merged[key], *(v for v in suite[key] if v not in merged[key])]}
    if all(isinstance(seed, int) for seed in merged["seeds"]):  # else it is refused below
        merged["seeds"] = sorted(merged["seeds"])
    if plugins:
        merged["plugins"] = []
    return parse_suite(merged, file=first, plugins=plugins)


_PARTED = ("seeds", "pairs")
"""Keys by which the suites of parts may differ."""
