"""The table of rows: its key columns, reading it, joining tables, choosing rows, writing it."""

from __future__ import annotations

import fnmatch
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oodbench.core.errors import UserError
from oodbench.evaluation.leaderboard import CELL
from oodbench.evaluation.metrics.columns import METRICS

if TYPE_CHECKING:
    import pandas as pd


ROW_KEYS = (
    "suite", "pair", "pair_params", "split", "network", "method", "method_params", "seed", "scorer",
    "scorer_params", "tune",
    "chosen", "condition", "id_set", "ood", "shift", "status", "reason", "run_key",
)  # fmt: skip
"""The columns of results.csv before the metrics. A row with an empty `ood` carries ID-only metrics."""


def read_rows(path: Path) -> pd.DataFrame:
    """The rows of a results.csv: keys as text (empty is empty, never NaN), metrics as numbers (empty is
    NaN)."""
    import pandas as pd

    try:
        rows = pd.read_csv(
            path,
            dtype=dict.fromkeys(ROW_KEYS, str),
            keep_default_na=False,
            na_values={m: [""] for m in METRICS},
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `oodbench run` writes it") from None
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a results.csv ({str(error).strip()})") from None
    missing = [name for name in (*ROW_KEYS, *METRICS) if name not in rows]
    if missing:
        raise UserError(f"{path}: not a results.csv of this version, it lacks the column {missing[0]!r}")
    return rows


IDENTITY = tuple(key for key in ROW_KEYS if key not in ("status", "reason", "chosen"))
"""What makes two rows the same row."""


def table(folder: Path, name: str) -> Path | None:
    """The file of one table of a results folder, plain or compressed: ``results.csv``, ``results.csv.gz``."""
    return next((f for f in (folder / f"{name}.csv", folder / f"{name}.csv.gz") if f.is_file()), None)


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

    rows = pd.concat([frame.assign(_from=i) for i, frame in enumerate(frames)], ignore_index=True)
    identity = list(IDENTITY)
    ok = rows[rows["status"] == "ok"]
    doubled = ok[ok.duplicated(identity, keep=False)]
    for _, group in doubled.groupby(identity, sort=False, dropna=False) if len(doubled) else ():
        for metric in METRICS:
            values = group[metric]
            if values.notna().any() and (values.isna().any() or float(values.max() - values.min()) > 1e-9):
                first, second = group.iloc[0], group[values.ne(values.iloc[0])].iloc[0]
                what = " / ".join(
                    str(first[k])
                    for k in ("pair", "split", "network", "method", "seed", "scorer", "ood")
                    if str(first[k])
                )
                raise UserError(
                    f"{names[int(first['_from'])]} and {names[int(second['_from'])]} disagree on {metric} of"
                    f" {what}: {first[metric]:g} and {second[metric]:g}; they are not results of one suite"
                    " and code"
                )
    better = rows["status"].map({"ok": 0, "failed": 1}).fillna(2)
    kept = (
        rows.assign(_rank=better).sort_values("_rank", kind="stable").drop_duplicates(identity).sort_index()
    )
    return kept.drop(columns=["_from", "_rank"]).reset_index(drop=True)


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
        meets = rows[key].astype(str).map(wanted.match).notna()
        if not negative and not meets.any() and len(rows):
            there = ", ".join(list(dict.fromkeys(map(str, rows[key])))[:12])
            raise UserError(f"{option} {condition!r}: nothing has that {key}; there is {there}")
        rows = rows[~meets if negative else meets]
    return rows


def to_csv(frame: pd.DataFrame) -> str:
    """A frame as every results file holds it: ten significant digits, empty for missing, one line end on
    every machine."""
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.10g")
