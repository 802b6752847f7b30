"""Tables at 1e5, 1e6 and 1e7 rows: written, read again, ranked and reported, each size in a process of its
own. Rows are made, by a seed: they are no results."""

from __future__ import annotations

import itertools
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SETS = {f"near{i}": "near" for i in range(3)} | {f"far{i}": "far" for i in range(6)}
PAIRS, SPLITS, SEEDS, SCORERS = 4, 5, 3, 56


def make_rows(n: int) -> pd.DataFrame:
    """About so many rows: 4 pairs x methods x 5 splits x 3 seeds, each one row of the network alone and 56
    scorers on ID and on 9 OOD sets; every metric filled that such a row has."""
    from oodbench.evaluation.large import LARGE, Columns, plain
    from oodbench.evaluation.metrics.columns import COUNTS, ID_ONLY, METRICS
    from oodbench.evaluation.rows import ROW_KEYS

    per_run = 1 + SCORERS * (1 + len(SETS))
    methods = max(1, round(n / per_run / (PAIRS * SPLITS * SEEDS)))
    runs = list(itertools.product(range(PAIRS), range(methods), range(SPLITS), range(SEEDS)))
    n = len(runs) * per_run
    pair, method, split, seed = (np.repeat(c, per_run).astype("i4") for c in zip(*runs, strict=True))
    scorer = np.tile(np.r_[0, np.repeat(np.arange(SCORERS), 1 + len(SETS)) + 1], len(runs)).astype("i2")
    ood = np.tile(np.r_[0, np.tile(np.arange(1 + len(SETS)), SCORERS)], len(runs)).astype("i2")
    columns = Columns(METRICS, n)
    rng = np.random.default_rng(0)
    quality = np.repeat(rng.random(len(runs)), per_run)
    for metric in METRICS:
        values = quality if metric == "id_accuracy" else rng.random(n)
        if metric in COUNTS:
            values = np.full(n, 1000.0)
        elif metric not in ("id_accuracy", "auroc_misclassified"):
            values[(ood == 0) != (metric in ID_ONLY)] = np.nan
        columns.write(metric, 0, values)

    def named(codes: Any, words: list[str]) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, pd.Index(words))

    same = dict.fromkeys(("pair_params", "method_params", "scorer_params"), "{}") | dict.fromkeys(
        ("chosen", "reason"), ""
    ) | {"suite": "scale", "network": "resnet18", "tune": "none", "condition": "clean", "id_set": "id",
         "status": "ok"}  # fmt: skip
    keys = {name: named(np.zeros(n, "i1"), [word]) for name, word in same.items()} | {
        "pair": named(pair, [f"pair{i}" for i in range(PAIRS)]),
        "method": named(method, [f"method{i}(lam={i / 7:g})" for i in range(methods)]),
        "split": named(split, [str(i) for i in range(SPLITS)]),
        "seed": named(seed, [str(i) for i in range(SEEDS)]),
        "scorer": named(scorer, ["", *(f"scorer{i}" for i in range(SCORERS))]),
        "ood": named(ood, ["", *SETS]),
        "shift": named(np.searchsorted([1, 4], ood, side="right"), ["none", "near", "far"]),
        "run_key": named(np.repeat(np.arange(len(runs)), per_run), [f"{i:064x}" for i in range(len(runs))]),
    }
    rows = columns.frame(keys, [*ROW_KEYS, *METRICS])
    return rows if n >= LARGE else plain(rows).copy()


def measure(rows: int) -> dict[str, Any]:
    """What it costs here, step after step, each with the most memory up to its end, in MB: rows made,
    rounded as they are read again, written (with the columns beside, where there are many), read, ranked, the
    leaderboard written, and the page."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        _measure(rows, Path(scratch), found)
    return found


def _measure(rows: int, scratch: Path, found: dict[str, Any]) -> None:
    from oodbench.evaluation.csv_text import to_csv
    from oodbench.evaluation.leaderboard import over_trials
    from oodbench.evaluation.parquet import beside
    from oodbench.evaluation.rows import as_written, read_rows
    from oodbench.report.page import page
    from oodbench.runs.folder import ResultsFolder

    def step(name: str, work: Any) -> Any:
        start, clock = time.process_time(), time.perf_counter()
        made = work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found[name] = {
            "cpu_s": round(time.process_time() - start, 1), "s": round(time.perf_counter() - clock, 1),
            "peak_mb": round(peak),
        }  # fmt: skip
        print(rows, name, found[name], file=sys.stderr, flush=True)
        return made

    raw = step("made", lambda: make_rows(rows))
    found["rows"] = len(raw)
    written = [step("rounded as written", lambda: as_written(raw))]
    folder = ResultsFolder(scratch)
    step("results.csv", lambda: folder._table("results", written[0], False))
    file = scratch / "results.csv"
    found["csv_mb"] = round(file.stat().st_size / 1e6)
    found["parquet_mb"] = round(beside(file).stat().st_size / 1e6) if beside(file).exists() else 0
    written.clear()
    again = step("read", lambda: read_rows(file))
    board = step("ranked", lambda: over_trials(again))
    found["cells"] = len(board)
    step("leaderboard.csv", lambda: (scratch / "leaderboard.csv").write_text(to_csv(board)))
    text = step("page", lambda: page.render(again, board))
    found["page_mb"] = round(len(text) / 1e6, 1)


if __name__ == "__main__":
    import json

    print(json.dumps(measure(int(float(sys.argv[1])))))
