"""Average ranks over many data sets as text: Friedman, Nemenyi and Conover-Holm, cliques, wins, ties and
losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from oodbench.core.errors import UserError
from oodbench.evaluation import statistics
from oodbench.evaluation.large import chosen
from oodbench.evaluation.leaderboard import trials, values_of_trials
from oodbench.evaluation.metrics.columns import label, lower_is_better
from oodbench.report import formats

if TYPE_CHECKING:
    import pandas as pd


def to_text(rows: pd.DataFrame, of: str, value: str, style: str = "table", alpha: float = 0.05) -> str:
    """Methods, scorers or networks (`of`) ranked by a value within every block, a pair and split with
    everything else averaged."""
    plain_rows = (rows["condition"] == "clean") & (rows["id_set"] == "id")
    per_trial = trials(chosen(rows, plain_rows.to_numpy()))
    if value not in values_of_trials(per_trial):
        raise UserError(
            f"--value: {value!r} is no value of a leaderboard; allowed:"
            f" {', '.join(values_of_trials(per_trial))}"
        )
    lower = lower_is_better(value)
    table = statistics.blocks(per_trial, value, of=of, within=[]).dropna(axis=1, how="all")
    ranking = statistics.rank_blocks(table, lower_is_better=lower, alpha=alpha)
    if ranking.n == 0 or len(ranking.names) < 2:
        raise UserError(
            f"nothing to rank: {len(ranking.names)} {of}s, {ranking.n} pairs and splits that have a {value}"
            " of each"
        )
    order = ranking.order
    place = {name: i for i, name in enumerate(ranking.names)}
    contests = statistics.win_tie_loss(table.dropna()[order], lower_is_better=lower)
    body = []
    for i, name in enumerate(order, 1):
        parted = [
            other for other in order if ranking.p_conover[place[name], place[other]] < alpha and other != name
        ]
        body.append(
            [str(i), name, f"{ranking.ranks[place[name]]:.2f}", *contests.loc[name], ", ".join(parted)]
        )
    numbers = [str(i) for i in range(1, len(order) + 1)]
    text = formats.render(["", of, "rank", *numbers, "differs (Conover-Holm)"], body, style, left=2)
    return formats.with_lines(text, _lines(ranking, of, value, per_trial["pair"].nunique()), style)


def _lines(ranking: statistics.Ranking, of: str, value: str, pairs: int) -> list[str]:
    over = f"{ranking.n} blocks (splits of {pairs} pair{'' if pairs == 1 else 's'})"
    lines = [f"{of}s ranked by {label(value)} over {over}; columns: wins/ties/losses against each"]
    if ranking.n < 2:
        return [*lines, "One block: ranks, and no test."]
    friedman = f"Friedman chi2 = {ranking.chi2:.3f}, p = {formats.p_text(ranking.p)}"
    lines.append(f"{friedman}; Iman-Davenport F = {_f(ranking.f)}, p = {formats.p_text(ranking.p_f)}")
    cliques = "; ".join(", ".join(clique) for clique in ranking.cliques()) or "none"
    lines.append(
        f"Nemenyi: critical difference {ranking.cd:.3f} at {100 * ranking.alpha:g} %; not parted: {cliques}"
    )
    if ranking.n < 10:
        lines.append(
            "With fewer than ten blocks these tests are rough; of very few, Conover's takes agreement for"
            " certainty."
        )
    if pairs < ranking.n:
        lines.append(
            "Splits of one pair share images: the blocks are fewer than they look, and the p values too"
            " small."
        )
    return lines


def _f(value: float) -> str:
    return "infinite" if np.isinf(value) else f"{value:.3f}"
