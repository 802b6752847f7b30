"""Results folders read, selected and put together: one suite's rows made on several machines become one
folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import UserError
from oodbench.evaluation.rows import read, write_csv

if TYPE_CHECKING:
    import pandas as pd


def folders(folders: Sequence[Path], into: Path) -> pd.DataFrame:
    """Write into `into` what a run of the whole suite would have left there, from folders that hold parts of
    it: results.csv, timing.csv, history.csv, leaderboard.csv, suite.yaml, heat maps and the page (without
    per-sample views). Returns the rows."""
    import pandas as pd

    from oodbench.evaluation.leaderboard import over_trials
    from oodbench.report import plots
    from oodbench.report.page import page as report

    rows = read(folders)
    suites = list(dict.fromkeys(rows["suite"]))
    if len(suites) > 1:
        raise UserError(f"cannot merge results of different suites: {', '.join(suites)}")
    if (into / "results.csv").exists():
        raise UserError(f"{into}: holds a results.csv already; choose an empty folder")
    suite = _merged_suite(folders)
    times = [
        pd.read_csv(f / "timing.csv", keep_default_na=False) for f in folders if (f / "timing.csv").is_file()
    ]
    timing = pd.concat(times, ignore_index=True).drop_duplicates() if times else None
    board = over_trials(rows)
    into.mkdir(parents=True, exist_ok=True)
    write_csv(rows, into / "results.csv")
    write_csv(board, into / "leaderboard.csv")
    if timing is not None:
        write_csv(timing, into / "timing.csv")
    histories = [
        pd.read_csv(f / "history.csv", keep_default_na=False)
        for f in folders
        if (f / "history.csv").is_file()
    ]
    if histories:
        write_csv(pd.concat(histories, ignore_index=True).drop_duplicates(), into / "history.csv")
    if suite:
        (into / "suite.yaml").write_text(suite, encoding="utf-8")
    plots.draw_all(rows, pd.DataFrame(), into / "plots", timing)
    page = report.render(
        rows,
        board,
        suite_text=suite,
        timing=timing,
        environment={"merged from": ", ".join(f.name for f in folders)},
    )
    (into / "report.html").write_text(page, encoding="utf-8")
    return rows


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
            raise UserError(
                f"{file}: {differ[0]} differs from the other folders' suites; only seeds and pairs may"
            )
        for key in ("seeds", "pairs"):
            merged[key] = [*merged[key], *(v for v in suite[key] if v not in merged[key])]
    if merged:
        merged["seeds"] = sorted(merged["seeds"])
    return (
        yaml.safe_dump(merged, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
        if merged
        else ""
    )
