"""The table of rows: its key columns, reading it, joining tables, choosing rows, writing it."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.core.errors import UserError, shown
from oodbench.core.names import no_formula
from oodbench.core.text_files import refused, there
from oodbench.evaluation import parquet
from oodbench.evaluation.csv_text import to_csv
from oodbench.evaluation.decimals import rounded
from oodbench.evaluation.large import LARGE, chosen, compacted, factorized, firsts, released
from oodbench.evaluation.leaderboard import CELL
from oodbench.evaluation.metrics.columns import COLUMNS, METRICS
from oodbench.evaluation.tables import AGAIN, AMOUNT, FINITE, FRACTION, parsed, read_table, table

if TYPE_CHECKING:
    import pandas as pd


STATES = ("ok", "failed", "skipped")
ROW_KEYS = (
    "suite", "pair", "pair_params", "split", "network", "method", "method_params", "seed", "scorer",
    "scorer_params", "tune",
    "chosen", "condition", "id_set", "ood", "shift", "status", "reason", "run_key",
)  # fmt: skip
"""The columns of results.csv before the metrics. A row with an empty `ood` carries ID-only metrics."""
NEWER_KEY = "input"
"""A column after them, where a network was fed something of its own: what a run's images became. Empty: the
pair's geometry, normalised by the statistics of the ID training images."""


_RANGES = {
    c.name: FRACTION if c.unit == "%" else FINITE if c.name.startswith("max_logit") else AMOUNT
    for c in COLUMNS
}  # fmt: skip


def read_rows(path: Path) -> pd.DataFrame:
    """The rows of a results.csv: keys as text (empty is empty, never NaN), metrics as numbers (empty is
    NaN).

    Raises UserError, one line that says where, for a file that is damaged, lacks a column, or holds a number
    that its metric cannot have."""
    if not there(path):
        raise UserError(f"{path}: no such file; `oodbench run` writes it")
    rows = from_parquet(path)
    if rows is None:
        names = [key for key in ROW_KEYS if key != "reason"]
        rows = read_table(path, names, _RANGES, sentences=["reason"])
    if rows.empty:
        raise refused(path, "holds no row", AGAIN)
    unknown = rows[~rows["status"].isin(STATES)]
    if len(unknown):
        line, status = unknown.index[0] + 2, shown(unknown["status"].iloc[0])
        raise refused(path, f"line {line}: status is {status}, should be {', '.join(STATES)}", AGAIN)
    return rows


def from_parquet(path: Path) -> pd.DataFrame | None:
    """The rows from the Parquet file beside their CSV file, None where not all is well with it; what is wrong
    is told of the CSV file."""
    rows = parquet.read(path, ROW_KEYS, METRICS)
    if rows is None or any(not word.isprintable() for key in ROW_KEYS for word in rows[key].cat.categories):
        return None
    for metric in METRICS:
        values = rows[metric].to_numpy()
        low, high = _RANGES[metric]
        wrong = bool(((values < low) | (values > high)).any())
        released(values)
        if wrong:
            return None
    return rows


def impossible(metric: str, values: pd.Series[Any]) -> pd.Series[Any]:
    """Which values a metric cannot have: infinite ones, fractions beyond [0, 1], negative amounts."""
    low, high = _RANGES[metric]
    return values.notna() & ~values.between(low, high)


def as_written(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as whoever reads their results.csv will have them, with ten digits of each number: what is made of
    the ones is what anybody makes of the others."""
    if len(rows) < LARGE:
        return parsed(to_csv(rows), list(rows.columns), METRICS)
    return compacted(rows, METRICS, no_formula, rounded)


IDENTITY = tuple(key for key in ROW_KEYS if key not in ("status", "reason", "chosen"))
"""What makes two rows the same row."""


def results_file(path: Path) -> Path:
    """The results.csv (or results.csv.gz) meant by a suite's results folder or by the file itself."""
    if not path.is_dir():
        return path
    file = table(path, "results")
    if file is None:
        inside = sorted({p.parent.name for p in path.glob("*/results.csv*")})
        there = (
            f"; it holds the results of {', '.join(inside)}: name one of these folders"
            if inside
            else "; `oodbench run` writes it"
        )
        raise UserError(f"{path}: holds no results.csv{there}")
    return file


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """Rows of several results folders, put together as `combine` does."""
    return combine([read_rows(results_file(path)) for path in paths], [str(path) for path in paths])


def combine(frames: Sequence[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """All rows once. An ok row takes the place of a failed or skipped one; two ok rows of one identity must
    hold the same numbers."""
    import pandas as pd

    if len(frames) == 1 and len(frames[0]) >= LARGE and _each_once(frames[0]):
        return frames[0]
    rows = pd.concat([frame.assign(_from=i) for i, frame in enumerate(frames)], ignore_index=True)
    if NEWER_KEY in rows:
        rows = rows.fillna({NEWER_KEY: ""})
        rows.insert(len(ROW_KEYS), NEWER_KEY, rows.pop(NEWER_KEY))
    identity = list(IDENTITY)
    ok = rows[rows["status"] == "ok"]
    doubled = ok[ok.duplicated(identity, keep=False)]
    for _, group in doubled.groupby(identity, sort=False, dropna=False) if len(doubled) else ():
        for metric in METRICS:
            values = group[metric].to_numpy(dtype=float)
            other = ~np.isclose(values, values[0], rtol=0, atol=1e-9, equal_nan=True)
            if other.any():
                first, second = group.iloc[0], group.iloc[int(other.argmax())]
                what = " / ".join(
                    str(first[k])
                    for k in ("pair", "split", "network", "method", "seed", "scorer", "ood")
                    if str(first[k])
                )
                a, b = (f"{r[metric]:g}" if r[metric] == r[metric] else "empty" for r in (first, second))
                one, two = (names[int(r["_from"])] for r in (first, second))
                who = f"{one} and {two}" if one != two else f"two rows of {one}"
                raise UserError(
                    f"{who} disagree on {metric} of {what}: {a} and {b}; they are not results of one suite"
                    " and code"
                )
    better = rows["status"].map({"ok": 0, "failed": 1}).fillna(2)
    kept = (
        rows.assign(_rank=better).sort_values("_rank", kind="stable").drop_duplicates(identity).sort_index()
    )
    return kept.drop(columns=["_from", "_rank"]).reset_index(drop=True)


def _each_once(rows: pd.DataFrame) -> bool:
    return bool(firsts([rows[key] for key in IDENTITY]).all())


def where(
    rows: pd.DataFrame,
    conditions: Sequence[str],
    keys: Sequence[str] = (*CELL, "split", "seed", "ood", "shift"),
    option: str = "--where",
) -> pd.DataFrame:
    """The rows that meet every condition, ``key=pattern`` or ``key!=pattern``, with * and ? as wildcards;
    `option` is what errors name."""
    for condition in conditions:
        negative = "!=" in condition
        key, sign, pattern = condition.partition("!=" if negative else "=")
        key = key.strip()
        if not sign or key not in keys or key not in rows:
            allowed = ", ".join(k for k in keys if k in rows)
            raise UserError(
                f"{option} {condition!r}: should be KEY=VALUE or KEY!=VALUE with KEY one of {allowed}"
            )
        wanted = re.compile(fnmatch.translate(pattern.strip()))
        codes, words = factorized(rows[key])
        meets = np.array([wanted.match(str(word)) is not None for word in [*words, np.nan]])[codes]
        if not negative and not meets.any() and len(rows):
            present = ", ".join([str(word) for word in words][:12])
            raise UserError(f"{option} {condition!r}: nothing has that {key}; there is {present}")
        rows = chosen(rows, ~meets if negative else meets)
    return rows
