"""Verification of the files of a results folder against one another."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.core.errors import UserError
from oodbench.evaluation.leaderboard import CELL, values_of
from oodbench.evaluation.metrics.columns import FRACTIONS, METRICS
from oodbench.evaluation.rows import IDENTITY, to_csv
from oodbench.report.page import cells
from oodbench.runs.findings import (
    CONTRADICTED,
    HOLDS,
    TOLERANCE,
    UNCHECKED,
    Finding,
    name_of,
    number,
    text,
    told,
)
from oodbench.runs.folder import BOARD, CLAIMS, ENVIRONMENT, PAGE, ResultsFolder, verdicts_of
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
        values = ok[metric].astype(float)
        bad = ok[
            np.isinf(values) | (values < 0 if metric not in ("max_logit_id", "max_logit_ood") else False)
        ]
        bad = bad if metric not in FRACTIONS else ok[(values < 0) | (values > 1)]
        for row in bad.to_dict("records"):
            wrong.append(f"{name_of(row)}: {metric} is {row[metric]:g}, which it cannot be")
    # the network's accuracy on one ID set is one number, whichever scorer and OOD set stand beside it
    one = ok[ok["id_accuracy"].notna()].astype({"id_accuracy": float})
    spread = one.groupby(["run_key", "condition", "id_set"], sort=False)["id_accuracy"].transform(
        lambda x: float(x.max() - x.min())
    )
    for row in one[spread > TOLERANCE].drop_duplicates("run_key").to_dict("records"):
        wrong.append(f"{name_of(row)}: rows of one run give different ID accuracies")
    return told("results.csv", wrong, f"{len(rows)} rows, none twice, every number in its range")


def check_leaderboard(folder: Path, made: pd.DataFrame) -> Finding:
    """leaderboard.csv is what the rows of results.csv give."""
    import pandas as pd

    file = folder / BOARD
    try:
        empty = {column: [""] for column in _numbers(file)}
        written = pd.read_csv(file, dtype=dict.fromkeys(CELL, str), keep_default_na=False, na_values=empty)
    except FileNotFoundError:
        return Finding(UNCHECKED, BOARD, "there is none")
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        return Finding(CONTRADICTED, BOARD, f"is not a leaderboard ({error})")
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


def _numbers(file: Path) -> list[str]:
    with file.open(encoding="utf-8") as lines:
        return [c for c in lines.readline().strip().split(",") if c not in (*CELL, "unit")]


def _differ(a: pd.Series[Any], b: pd.Series[Any]) -> Any:
    x, y = (np.asarray(v.astype("Float64").to_numpy(dtype=float, na_value=np.nan)) for v in (a, b))
    return ~np.isclose(x, y, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def check_page(folder: Path, board: pd.DataFrame) -> Finding:
    """The numbers that report.html draws are those of the leaderboard."""
    file = folder / PAGE
    if not file.is_file():
        return Finding(UNCHECKED, PAGE, "there is none")
    try:
        drawn = cells.cells_of(file.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, IndexError):
        return Finding(CONTRADICTED, PAGE, "its data cannot be read")
    if len(drawn) != len(board):
        return Finding(CONTRADICTED, PAGE, f"it draws {len(drawn)} cells, results.csv gives {len(board)}")
    wrong = []
    for cell, row in zip(drawn, board.to_dict("records"), strict=True):
        place = " / ".join(
            v for k, v in cell["k"].items() if v and k in ("pair", "network", "method", "scorer")
        )
        if any(str(row[k]) != v for k, v in cell["k"].items()):
            wrong.append(f"{place} stands where results.csv has another cell")
            continue
        for column in values_of(board):
            for shown, suffix in zip(
                cell["v"].get(column, [None]), ("", "_std", "_low", "_high"), strict=False
            ):
                made = number(row[column + suffix])
                # a page may round to five digits, and ten were written to results.csv: a value on the edge
                # may round either way
                if not np.isclose(number(shown), made, rtol=0, atol=1.5e-5, equal_nan=True):
                    wrong.append(
                        f"{column}{suffix} of {place} is {text(number(shown))}, results.csv gives"
                        f" {text(made)}"
                    )
    return told(PAGE, wrong, f"draws the {len(board)} cells of the leaderboard")


def check_claims(folder: Path, suite: Suite, rows: pd.DataFrame) -> list[Finding]:
    """claims.csv says of every claim what the rows say of it."""
    import pandas as pd

    file = folder / CLAIMS
    if not suite.claims and not file.is_file():
        return []
    made = verdicts_of(rows, suite)
    try:
        written = pd.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        return [
            Finding(
                UNCHECKED,
                CLAIMS,
                f"there is none, and the suite states {len(suite.claims)} claims",
            )
        ]
    if list(written.columns) != list(made.columns) or len(written) != len(made):
        return [
            Finding(
                CONTRADICTED,
                CLAIMS,
                f"its {len(written)} rows are not the {len(made)} that suite and rows give",
            )
        ]
    wrong = []
    # as it would be written, so that both sides are text; numbers are compared as numbers
    again = pd.read_csv(io.StringIO(to_csv(made)), dtype=str, keep_default_na=False)
    for column in made.columns:
        for i, (a, b) in enumerate(zip(written[column], again[column], strict=True)):
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
    except UserError:
        return Finding(CONTRADICTED, "versions", f"{ENVIRONMENT} cannot be read")
    if not then:
        return Finding(UNCHECKED, "versions", f"there is no {ENVIRONMENT}")
    now = provenance("cpu")
    names = ("oodbench", "python", "torch", "torchvision", "numpy", "machine", "commit")
    other = [f"{n} {str(then.get(n))[:12]} (here {str(now[n])[:12]})" for n in names if then.get(n) != now[n]]
    if other:
        return Finding(UNCHECKED, "versions", f"made with {', '.join(other)}")
    return Finding(HOLDS, "versions", ", ".join(f"{n} {str(now[n])[:12]}" for n in names))
