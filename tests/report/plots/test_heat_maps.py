"""Tables as colours: the numbers they show."""

from __future__ import annotations

import pandas as pd

from oodbench.evaluation.leaderboard import over_trials
from oodbench.report import plots
from tests.evaluation.frames import make_rows
from tests.report.plots.figures import texts


def test_rank_heat_map_shows_the_average_rank_over_the_other_name() -> None:
    rows = pd.concat(
        [make_rows(scorers=("msp", "knn", "vim")), make_rows(scorers=("msp", "knn", "vim"), pair="q")]
    )
    board = over_trials(rows)
    figure = plots.rank_heat_map(board)
    for pair in "pq":
        table = board[board["pair"] == pair].pivot(index="method", columns="scorer", values="near_auroc")
        for rank in (-table).rank(axis=1).mean():
            assert f"{rank:.1f}" in texts(figure)
    assert "p, mlp" in texts(figure)


def test_heat_map_shows_the_boards_means_and_a_dash_for_none(rows: pd.DataFrame) -> None:
    board = over_trials(rows)
    figure = plots.heat_map(board)
    assert all(f"{100 * v:.1f}" in texts(figure) for v in board["near_auroc"])
    rows = rows.copy()
    rows.loc[(rows["scorer"] == "knn") & (rows["method"] == "als"), "status"] = "failed"
    assert "–" in texts(plots.heat_map(over_trials(rows)))
