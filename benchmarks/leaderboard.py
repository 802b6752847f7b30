"""Speed of the tables: leaderboard and page of 100,000 rows, and the bootstrap beside resampling through
scikit-learn, in one run.

    python benchmarks/leaderboard.py                      about a minute on one core
    python benchmarks/leaderboard.py --rows 5000 --size 1000

Each line is the median of `--repeat` runs, in seconds of one core's time (everything here runs on one
thread), with the seconds that passed in parentheses: they are more where other work shares the machine. Rows
and scores are made. Nothing is asserted: the targets stand beside."""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from oodbench.evaluation import statistics as stats
from oodbench.evaluation.leaderboard import over_trials
from oodbench.evaluation.metrics.columns import COUNTS, ID_ONLY, METRICS
from oodbench.evaluation.rows import ROW_KEYS
from oodbench.report.page import page as report

SETS = {
    "cifar100": "near",
    "tin": "near",
    "mnist": "far",
    "svhn": "far",
    "textures": "far",
    "places365": "far",
}


def make_rows(n: int) -> pd.DataFrame:
    """About `n` rows as a run writes them: 4 pairs x 2 networks x methods x 3 seeds x 25 scorers x 6 sets,
    every metric filled."""
    pairs, networks, seeds, scorers = (
        [f"pair{i}" for i in range(4)],
        ["resnet18", "wrn40"],
        range(3),
        [f"scorer{i}" for i in range(25)],
    )
    per_method = len(pairs) * len(networks) * len(seeds) * (1 + len(scorers) * (1 + len(SETS)))
    methods = [f"method{i}" for i in range(max(1, round(n / per_method)))]
    keys: list[tuple[Any, ...]] = []
    for p, w, m, s in itertools.product(pairs, networks, methods, seeds):
        keys.append((p, w, m, str(s), "", "", "none"))
        for scorer in scorers:
            keys.append((p, w, m, str(s), scorer, "", "none"))
            keys += [(p, w, m, str(s), scorer, ood, shift) for ood, shift in SETS.items()]
    rows = pd.DataFrame(keys, columns=["pair", "network", "method", "seed", "scorer", "ood", "shift"])
    fixed = {"suite": "big", "pair_params": "{}", "split": "", "method_params": "{}", "scorer_params": "{}",
    "tune": "none", "chosen": "",
             "condition": "clean", "id_set": "id", "status": "ok", "reason": ""}  # fmt: skip
    rows = rows.assign(**fixed, run_key=rows["pair"] + rows["network"] + rows["method"] + rows["seed"])
    rng = np.random.default_rng(0)
    numbers = {m: 1000 if m in COUNTS else rng.random(len(rows)) for m in METRICS}
    for m, values in numbers.items():
        alone = m in ID_ONLY and m not in COUNTS
        rows[m] = np.where((rows["ood"] == "") == alone, values, np.nan) if m != "id_accuracy" else values
    return rows[[*ROW_KEYS, *METRICS]]


def timed(what: Callable[[], Any], repeat: int) -> tuple[float, float, Any]:
    """Median seconds of processor time and of wall time, and the last result."""
    used, passed = [], []
    result = None
    for _ in range(repeat):
        start, clock = time.process_time(), time.perf_counter()
        result = what()
        used.append(time.process_time() - start)
        passed.append(time.perf_counter() - clock)
    return statistics.median(used), statistics.median(passed), result


def by_scikit_learn(inside: Any, outside: Any, replicates: int, rng: np.random.Generator) -> None:
    """AUROC and FPR95 of resampled scores, the straightforward way."""
    from sklearn.metrics import roc_auc_score, roc_curve

    labels = np.repeat([0, 1], [len(inside), len(outside)])
    for _ in range(replicates):
        scores = np.concatenate([rng.choice(inside, len(inside)), rng.choice(outside, len(outside))])
        roc_auc_score(labels, scores)
        fpr, tpr, _ = roc_curve(1 - labels, -scores)
        _ = fpr[np.argmax(tpr >= 0.95)]


def line(what: str, used: float, passed: float, more: str) -> None:
    print(f"{what:<62} {used:8.3f} s ({passed:.3f})   {more}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument(
        "--size", type=int, default=10_000, help="samples of each of ID and OOD for the bootstrap"
    )
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    rows = make_rows(options.rows)
    used, passed, board = timed(lambda: over_trials(rows), options.repeat)
    line(
        f"leaderboard of {len(rows):,} rows, {len(board):,} cells, {board.shape[1]} columns",
        used,
        passed,
        "target < 2 s",
    )
    used, passed, page = timed(lambda: report.render(rows, board), options.repeat)
    line(f"report of the same ({len(page) / 1e6:.1f} MB)", used, passed, "target < 5 s")

    rng = np.random.default_rng(0)
    inside, outside = rng.normal(0, 1, options.size), rng.normal(1, 1, options.size)
    used, passed, _ = timed(
        lambda: stats.bootstrap([(inside, outside)], n=options.replicates), options.repeat
    )
    few = max(1, options.replicates // 20)
    scale = options.replicates / few
    theirs, theirs_passed, _ = timed(
        lambda: by_scikit_learn(inside, outside, few, np.random.default_rng(0)), 1
    )
    what = f"{options.replicates}-fold bootstrap of AUROC and FPR95, {options.size:,} + {options.size:,}"
    line(what, used, passed, "target <= 1 s")
    what = f"the same through scikit-learn ({few} replicates, scaled)"
    line(what, theirs * scale, theirs_passed * scale, f"ratio {theirs * scale / used:.0f}")


if __name__ == "__main__":
    main()
