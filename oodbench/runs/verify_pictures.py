"""Verification of the pictures under ``plots/``: each is drawn again from what the folder holds."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from oodbench.core.errors import UserError, one_line
from oodbench.core.text_files import read_bytes, there
from oodbench.report import plots
from oodbench.runs.findings import CONTRADICTED, HOLDS, UNCHECKED, Finding, told
from oodbench.runs.folder import PLOTS, Contents, ResultsFolder, costs_of


def check_pictures(
    here: ResultsFolder, rows: pd.DataFrame, made: Contents | None, *, same: bool
) -> list[Finding]:
    """Every picture of a results folder; nothing where there is none.

    Args:
        here: the results folder.
        rows: those of its results.csv.
        made: what pictures are drawn from; None where it is not at hand.
        same: whether this version of everything drew them, so that every point is to be the same.
    """
    folder = here.path / PLOTS
    if not there(folder):
        return []
    if not folder.is_dir():
        return [Finding(CONTRADICTED, PLOTS, "is no folder")]
    places = rows[["pair", "network"]].drop_duplicates()
    files = sorted(f for f in folder.iterdir() if f.suffix in (".png", ".svg") and not f.name.startswith("."))
    data: dict[Path, bytes] = {}
    wrong: list[str] = []
    for file in files:
        try:
            data[file] = read_bytes(file)
            why = _broken(file, data[file])
        except UserError as error:
            why = str(error).removeprefix(f"{file}: ")
        if why:
            wrong.append(f"{file.name} {why}")
    if wrong:
        return [told(PLOTS, wrong, "")]
    kinds = {file: plots.kind_of(file, places) for file in data}
    states = _drawn_again(data, kinds, made) if made is not None else {}
    return list(_told(data, kinds, states, same))


def _broken(file: Path, data: bytes) -> str:
    """What is wrong with the file of a picture in itself; empty where it can be shown."""
    try:
        if file.suffix == ".svg":
            if b"<!ENTITY" in data:
                return "defines entities, as no picture of ours does"
            ElementTree.fromstring(data)
        else:
            _pixels(data)
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: what both readers call a broken file
        return f"cannot be shown ({one_line(error, 120)})"
    return ""


def _pixels(data: bytes) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            return np.asarray(picture)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None


def _drawn_again(data: Mapping[Path, bytes], kinds: Mapping[Path, str], made: Contents) -> dict[Path, bool]:
    """Which of some pictures are the same when they are drawn again; those that cannot be drawn are left
    out."""
    by_name: dict[str, list[Path]] = {}
    for file in data:
        if kinds[file]:
            by_name.setdefault(file.stem, []).append(file)
    found: dict[Path, bool] = {}
    samples = pd.DataFrame() if made.samples is None else made.samples
    with tempfile.TemporaryDirectory() as scratch:
        for name, figure in plots.pictures(made.rows, samples, costs_of([made], made.rows)):
            for file in by_name.get(name, ()):
                (again,) = plots.save(figure, Path(scratch) / name, [file.suffix[1:]])
                found[file] = _same(data[file], again.read_bytes(), file.suffix)
    return found


def _same(one: bytes, other: bytes, suffix: str) -> bool:
    if one == other or suffix == ".svg":
        return one == other
    a, b = _pixels(one), _pixels(other)
    return a.shape == b.shape and bool((a == b).all())


def _told(
    data: Mapping[Path, bytes], kinds: Mapping[Path, str], states: Mapping[Path, bool], same: bool
) -> list[Finding]:
    good = [f.name for f in data if states.get(f)]
    other = [f.name for f in data if states.get(f) is False]
    foreign = [f.name for f in data if not kinds[f]]
    # what shows single samples needs the store; everything else is drawn from the files
    lacking = [f.name for f in data if kinds[f] and f not in states]
    gone = [f.name for f in data if f.name in lacking and states and kinds[f] not in plots.OF_SAMPLES]
    found = []
    if same and (other or gone):
        wrong = [f"{name} is not what is drawn from the folder's files" for name in other]
        wrong += [f"{name} is a picture that the folder's files do not give" for name in gone]
        return [told(PLOTS, wrong, "")]
    if good:
        found.append(Finding(HOLDS, PLOTS, f"{len(good)} pictures are what is drawn from the folder's files"))
    for names, why in (
        (other, "drawn by another version, which may draw otherwise"),
        (lacking, "cannot be drawn here"),
        (foreign, "no picture that oodbench draws of these results"),
    ):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            found.append(Finding(UNCHECKED, PLOTS, f"{names[0]}{more}: {why}"))
    return found
