"""The first part of a page: ranks, costs, facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.evaluation import statistics
from oodbench.evaluation.costs import UNKNOWN
from oodbench.report.formats import digits
from oodbench.report.page.numbers import number, shortened, tuples

if TYPE_CHECKING:
    import pandas as pd


MOST_RANKED = 60
"""Of names in one critical-difference diagram."""


def ranks(per_trial: pd.DataFrame) -> list[dict[str, Any]]:
    """Critical-difference diagrams of methods and of scorers, by near and by far AUROC."""
    clean = per_trial[(per_trial["condition"] == "clean") & (per_trial["id_set"] == "id")]
    found = []
    for of, what in (("method", "methods"), ("scorer", "scorers")):
        for shift in ("near", "far"):
            if clean.empty or clean[of].nunique() < 2:
                continue
            table = statistics.blocks(clean, f"{shift}_auroc", of=of, within=[])
            table = table.loc[:, table.notna().any()]
            ranking = statistics.rank_blocks(table)
            if ranking.n < 2 or len(ranking.names) < 2 or len(ranking.names) > MOST_RANKED:
                continue
            order = ranking.order
            spans = [[order.index(clique[0]), order.index(clique[-1])] for clique in ranking.cliques()]
            pairs = np.triu_indices(len(ranking.names), 1)
            nemenyi, conover = (
                int((p[pairs] < ranking.alpha).sum()) for p in (ranking.p_nemenyi, ranking.p_conover)
            )
            line = f"Friedman χ² = {ranking.chi2:.2f}, p = {ranking.p:.2g} over {ranking.n} blocks; "
            line += f"of {len(pairs[0])} pairs {nemenyi} differ by Nemenyi's test"
            # of few blocks Conover's test takes agreement for certainty
            line += f", {conover} by Conover's with Holm's adjustment." if ranking.n >= 5 else "."
            if ranking.n < 10:
                line += " With fewer than ten blocks the test is rough and can hardly find a difference."
            one: dict[str, Any] = {"what": what, "shift": shift, "n": ranking.n, "names": list(ranking.names)}
            one |= {
                "ranks": [number(r, 3) for r in ranking.ranks],
                "cd": number(ranking.cd, 3),
                "cliques": spans,
                "text": line,
            }
            if len(order) <= 24:
                one["wtl"] = statistics.win_tie_loss(table.dropna()[order]).to_numpy().tolist()
            found.append(one)
    return found


def scoring_seconds(spent: pd.DataFrame | None) -> dict[Any, list[float | None]]:
    """Seconds to fit and to score 1,000 samples, by network, method, scorer and tuning regime."""
    if spent is None:
        return {}
    values = shortened(spent[["fit_seconds", "score_seconds_per_1000"]], 7)
    return dict(zip(tuples(spent, ("network", "method", "scorer", "tune")), values, strict=True))


def cost_table(spent: pd.DataFrame | None) -> dict[str, Any]:
    """Costs by network and scorer, medians over methods (a scorer costs alike whatever the training was),
    then by method."""
    head = ["network", "scorer", "fit, s", "score, s per 1,000", "passes", "stored, MB", "reads besides test"]
    if spent is None:
        return {"head": head, "rows": [], "training": []}
    table, training = [], []
    for (network, scorer, tune), g in spent.groupby(["network", "scorer", "tune"], sort=False):
        seconds = g[["fit_seconds", "score_seconds_per_1000", "passes"]].median()
        stored = digits(g["bytes_stored"].median() / 1e6)
        named = str(scorer) if tune == "none" else f"{scorer} [{tune}]"
        reads = _read(g["reads"], lambda name: name != "outliers")
        table.append([str(network), named, *map(digits, seconds), stored, reads])
    for (network, method), g in spent.groupby(["network", "method"], sort=False):
        reads = _read(g["reads"], lambda name: name == "outliers")
        training.append([str(network), str(method), digits(g["train_seconds"].median()), reads])
    return {"head": head, "rows": table, "training": training}


def _read(reads: Iterable[str], which: Callable[[str], bool]) -> str:
    """What some rows read; unknown where no row tells."""
    names = dict.fromkeys(name for text in reads for name in text.split(", "))
    if set(names) == {UNKNOWN}:
        return UNKNOWN
    return ", ".join(n for n in names if n and n != UNKNOWN and which(n)) or "nothing"


def facts(rows: pd.DataFrame, board: pd.DataFrame) -> list[list[str]]:
    """Numbers at the top of the page, each with its words."""
    runs = rows["run_key"].nunique()
    found = [
        [f"{runs:,}", "trained networks" if runs != 1 else "trained network"],
        [f"{len(board):,}", "cells: method × scorer on a pair"],
    ]
    failed, skipped = ((rows["status"] == s).sum() for s in ("failed", "skipped"))
    return found + (
        [[f"{failed:,} / {skipped:,}", "rows failed / skipped: counted, never averaged"]]
        if failed or skipped
        else []
    )
