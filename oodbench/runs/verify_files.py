"""Verification of the files of a results folder against one another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.core.errors import UserError
from oodbench.core.names import visible
from oodbench.core.text_files import there
from oodbench.evaluation import parquet
from oodbench.evaluation.csv_text import is_text_of, to_csv
from oodbench.evaluation.decimals import rounded
from oodbench.evaluation.leaderboard import CELL
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.rows import IDENTITY, from_parquet, impossible
from oodbench.evaluation.tables import ANY, parsed, read_table
from oodbench.runs.findings import (
    CONTRADICTED,
    HOLDS,
    TOLERANCE,
    UNCHECKED,
    Finding,
    damaged,
    name_of,
    text,
    told,
)
from oodbench.runs.folder import BOARD, CLAIMS, ENVIRONMENT, ResultsFolder, verdicts_of
from oodbench.runs.machine import provenance
from oodbench.suite.suite import Suite

if TYPE_CHECKING:
    import pandas as pd


def check_rows(rows: pd.DataFrame) -> Finding:
    """No row twice, states that exist, numbers where the row is ok and in their range, one set of ID numbers
    per run and scorer."""
    wrong = []
    for row in rows[rows.duplicated(list(IDENTITY))].to_dict("records"):
        wrong.append(f"{name_of(row)}: stands twice")
    for row in rows[~rows["status"].isin(("ok", "failed", "skipped"))].to_dict("records"):
        wrong.append(f"{name_of(row)}: status {row['status']!r}")
    ok = rows[rows["status"] == "ok"]
    for row in ok[(ok["ood"] != "") & ok["auroc"].isna()].to_dict("records"):
        wrong.append(f"{name_of(row)}: is ok and has no auroc")
    for metric in METRICS:
        bad = impossible(metric, ok[metric].astype(float))
        for row in ok[bad].to_dict("records") if bad.any() else ():
            wrong.append(f"{name_of(row)}: {metric} is {row[metric]:g}, which it cannot be")
    # the network's accuracy on one ID set is one number, whichever scorer and OOD set stand beside it
    one = ok[ok["id_accuracy"].notna()].astype({"id_accuracy": float})
    spread = one.groupby(["run_key", "condition", "id_set"], sort=False)["id_accuracy"].transform(
        lambda x: float(x.max() - x.min())
    )
    for row in one[spread > TOLERANCE].drop_duplicates("run_key").to_dict("records"):
        wrong.append(f"{name_of(row)}: rows of one run give different ID accuracies")
    return told("results.csv", wrong, f"{len(rows)} rows, none twice, every number in its range")


def check_columns(file: Path) -> list[Finding]:
    """The columns beside a results.csv, which commands read in its place, hold what it says; nothing where
    there are none."""
    beside = parquet.beside(file)
    if not there(beside):
        return []
    rows = from_parquet(file)
    if rows is None:
        why = f"is not read: it does not belong to this {file.name}, is damaged, or pyarrow is missing"
        return [Finding(UNCHECKED, beside.name, why)]
    exact = all(np.array_equal(rounded(rows[m]), rows[m], equal_nan=True) for m in METRICS)
    wrong = [] if exact and is_text_of(rows, file) else [f"does not hold the rows of {file.name}"]
    return [told(beside.name, wrong, f"holds the rows of {file.name}")]


def check_leaderboard(folder: Path, made: pd.DataFrame) -> Finding:
    """leaderboard.csv is what the rows of results.csv give."""
    file = folder / BOARD
    if not there(file):
        return Finding(UNCHECKED, BOARD, "there is none")
    names = [*CELL, "unit"]
    try:
        written = read_table(file, names, {str(c): ANY for c in made.columns if c not in names})
    except UserError as error:
        return damaged(file, error)
    wrong: list[str] = []
    if list(written.columns) != list(made.columns):
        other = sorted(set(written.columns) ^ set(made.columns)) or ["their order"]
        return Finding(CONTRADICTED, BOARD, f"its columns are not those of this version: {other[0]}")
    cell = list(CELL)
    if set(map(tuple, written[cell].to_numpy())) != set(map(tuple, made[cell].astype(str).to_numpy())) or len(
        written
    ) != len(made):
        return Finding(
            CONTRADICTED,
            BOARD,
            f"its {len(written)} cells are not the {len(made)} that results.csv gives",
        )
    both = written.merge(made.astype(dict.fromkeys(CELL, str)), on=cell, suffixes=("", " made"), sort=False)
    for column in (c for c in made.columns if c not in cell):
        a, b = both[column], both[f"{column} made"]
        differ = a.astype(str) != b.astype(str) if column == "unit" else _differ(a, b)
        for row in both[differ].to_dict("records") if differ.any() else ():
            wrong.append(
                f"{column} of {name_of(row)} is {text(row[column])}, the rows give"
                f" {text(row[f'{column} made'])}"
            )
    return told(BOARD, wrong, f"its {len(made)} cells follow from results.csv")


def _differ(a: pd.Series[Any], b: pd.Series[Any]) -> Any:
    x, y = (np.asarray(v.to_numpy(dtype=float, na_value=np.nan)) for v in (a, b))
    return ~np.isclose(x, y, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def check_claims(folder: Path, suite: Suite, rows: pd.DataFrame) -> list[Finding]:
    """claims.csv says of every claim what the rows say of it."""
    file = folder / CLAIMS
    if not suite.claims and not there(file):
        return []
    if not there(file):
        why = f"there is none, and the suite states {len(suite.claims)} claims"
        return [Finding(UNCHECKED, CLAIMS, why)]
    made = verdicts_of(rows, suite)
    try:
        written = read_table(file, (), {}, sentences=list(made.columns))
    except UserError as error:
        return [damaged(file, error)]
    if list(written.columns) != list(made.columns) or len(written) != len(made):
        why = f"its {len(written)} rows are not the {len(made)} that suite and rows give"
        return [Finding(CONTRADICTED, CLAIMS, why)]
    wrong = []
    # as it would be written, so that both sides are text; numbers are compared as numbers
    again = parsed(to_csv(made), list(made.columns), ()).map(visible)
    for column in made.columns:
        for i, (a, b) in enumerate(zip(written[column].map(visible), again[column], strict=True)):
            if a != b and not _close(a, b):
                row = again.iloc[i]
                wrong.append(
                    f"{column} of {row['claim']} ({row['level']} {row['scorer']}) is {a or 'empty'}, the rows"
                    f" give {b or 'empty'}"
                )
    return [told(CLAIMS, wrong, f"{len(suite.claims)} claims judged as the rows judge them")]


def _close(a: str, b: str) -> bool:
    try:
        return bool(np.isclose(float(a), float(b), rtol=1e-6, atol=1e-9))
    except ValueError:
        return False


def check_versions(folder: ResultsFolder) -> Finding:
    """Versions that the results were made with, against those here. Another version contradicts nothing: it
    says what was not tried."""
    try:
        then = folder.environment()
    except UserError as error:
        return damaged(folder.path / ENVIRONMENT, error)
    if not then:
        return Finding(UNCHECKED, "versions", f"there is no {ENVIRONMENT}")
    now = provenance("cpu")
    differ = [n for n in VERSIONS if _other(then, now, n)]
    if differ:
        other = [f"{n} {str(then.get(n))[:12]} (here {str(now[n])[:12]})" for n in differ]
        return Finding(UNCHECKED, "versions", f"made with {', '.join(other)}")
    return Finding(HOLDS, "versions", ", ".join(f"{n} {str(now[n])[:12]}" for n in VERSIONS))


VERSIONS = ("oodbench", "python", "torch", "torchvision", "numpy", "matplotlib", "machine", "commit")


def _other(then: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    return then.get(name) != now[name] and not (name == "matplotlib" and name not in then)  # recorded later


def made_by_this(folder: ResultsFolder) -> bool:
    """Whether this very version of oodbench, with the same libraries, wrote a folder: then its page and its
    pictures are the same to the last letter when made again. Where it is not known: no."""
    try:
        then = folder.environment()
    except UserError:
        return False
    now = provenance("cpu")
    return all(name in then and then[name] == now[name] for name in VERSIONS)
