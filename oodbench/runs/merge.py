"""Results folders read, selected and put together: one suite's rows made on several machines become one folder."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import UserError
from oodbench.core.scorer import ROW_KEYS
from oodbench.evaluation.leaderboard import CELL, read_rows
from oodbench.evaluation.metrics.detection import METRICS

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = tuple(key for key in ROW_KEYS if key not in ("status", "reason", "chosen"))
"""What makes two rows the same row."""


def results_file(path: Path) -> Path:
    """The results.csv meant by a suite's results folder or by the file itself."""
    file = path / "results.csv" if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        inside = sorted(p.parent.name for p in path.glob("*/results.csv"))
        there = f"; it holds the results of {', '.join(inside)}: name one of these folders" if inside else "; `oodbench run` writes it"
        raise UserError(f"{path}: holds no results.csv{there}")
    return file


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """Rows of several results folders, put together as `combine` does."""
    return combine([read_rows(results_file(path)) for path in paths], [str(path) for path in paths])


def combine(frames: Sequence[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """All rows once. An ok row takes the place of a failed or skipped one; two ok rows of one identity must hold the same numbers."""
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
                what = " / ".join(str(first[k]) for k in ("pair", "split", "network", "method", "seed", "scorer", "ood") if str(first[k]))
                raise UserError(
                    f"{names[int(first['_from'])]} and {names[int(second['_from'])]} disagree on {metric} of {what}: "
                    f"{first[metric]:g} and {second[metric]:g}; they are not results of one suite and code"
                )
    better = rows["status"].map({"ok": 0, "failed": 1}).fillna(2)
    kept = rows.assign(_rank=better).sort_values("_rank", kind="stable").drop_duplicates(identity).sort_index()
    return kept.drop(columns=["_from", "_rank"]).reset_index(drop=True)


def where(
    rows: pd.DataFrame, conditions: Sequence[str], keys: Sequence[str] = (*CELL, "split", "seed", "ood", "shift"), option: str = "--where"
) -> pd.DataFrame:
    """The rows that meet every condition, ``key=pattern`` or ``key!=pattern``, with * and ? as wildcards; `option` is what errors name."""
    for condition in conditions:
        negative = "!=" in condition
        key, sign, pattern = condition.partition("!=" if negative else "=")
        key = key.strip()
        if not sign or key not in keys or key not in rows:
            allowed = ", ".join(k for k in keys if k in rows)
            raise UserError(f"{option} {condition!r}: should be KEY=VALUE or KEY!=VALUE with KEY one of {allowed}")
        wanted = re.compile(fnmatch.translate(pattern.strip()))
        meets = rows[key].astype(str).map(wanted.match).notna()
        if not negative and not meets.any() and len(rows):
            there = ", ".join(list(dict.fromkeys(map(str, rows[key])))[:12])
            raise UserError(f"{option} {condition!r}: nothing has that {key}; there is {there}")
        rows = rows[~meets if negative else meets]
    return rows


def merge(folders: Sequence[Path], into: Path) -> pd.DataFrame:
    """Write into `into` what a run of the whole suite would have left there, from folders that hold parts of it: results.csv, timing.csv,
    history.csv, leaderboard.csv, suite.yaml, heat maps and the page (without per-sample views). Returns the rows."""
    import pandas as pd

    from oodbench.evaluation.leaderboard import leaderboard
    from oodbench.report.page import page as report
    from oodbench.report.plots import scores as plots

    rows = read(folders)
    suites = list(dict.fromkeys(rows["suite"]))
    if len(suites) > 1:
        raise UserError(f"cannot merge results of different suites: {', '.join(suites)}")
    if (into / "results.csv").exists():
        raise UserError(f"{into}: holds a results.csv already; choose an empty folder")
    suite = _merged_suite(folders)
    times = [pd.read_csv(f / "timing.csv", keep_default_na=False) for f in folders if (f / "timing.csv").is_file()]
    timing = pd.concat(times, ignore_index=True).drop_duplicates() if times else None
    board = leaderboard(rows)
    into.mkdir(parents=True, exist_ok=True)
    write_csv(rows, into / "results.csv")
    write_csv(board, into / "leaderboard.csv")
    if timing is not None:
        write_csv(timing, into / "timing.csv")
    histories = [pd.read_csv(f / "history.csv", keep_default_na=False) for f in folders if (f / "history.csv").is_file()]
    if histories:
        write_csv(pd.concat(histories, ignore_index=True).drop_duplicates(), into / "history.csv")
    if suite:
        (into / "suite.yaml").write_text(suite, encoding="utf-8")
    plots.draw_all(rows, pd.DataFrame(), into / "plots", timing)
    page = report.page(rows, board, suite_text=suite, timing=timing, environment={"merged from": ", ".join(f.name for f in folders)})
    (into / "report.html").write_text(page, encoding="utf-8")
    return rows


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """A frame as every results file is written: ten significant digits, empty for missing."""
    path.write_text(frame.to_csv(index=False, lineterminator="\n", float_format="%.10g"), encoding="utf-8")


def _merged_suite(folders: Sequence[Path]) -> str:
    """The suites of all folders as one, where they differ in nothing but seeds and pairs (splits)."""
    import yaml

    merged: dict[str, Any] = {}
    for folder in folders:
        file = folder / "suite.yaml"
        if not file.is_file():
            continue
        suite = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not merged:
            merged = dict(suite)
            continue
        differ = [k for k in sorted({*merged, *suite} - {"seeds", "pairs"}) if merged.get(k) != suite.get(k)]
        if differ:
            raise UserError(f"{file}: {differ[0]} differs from the other folders' suites; only seeds and pairs may")
        for key in ("seeds", "pairs"):
            merged[key] = [*merged[key], *(v for v in suite[key] if v not in merged[key])]
    if merged:
        merged["seeds"] = sorted(merged["seeds"])
    return yaml.safe_dump(merged, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True) if merged else ""
