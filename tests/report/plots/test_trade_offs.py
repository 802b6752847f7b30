"""Pictures of a leaderboard: what they draw is checked on the artists, against numbers found another way."""

from __future__ import annotations

import numpy as np

from oodbench.evaluation.leaderboard import over_trials
from oodbench.report import plots
from tests.evaluation.frames import make_rows
from tests.evaluation.statistics.published import DEMSAR
from tests.report.plots.figures import texts


def test_cd_diagram_of_demsars_example() -> None:
    figure = plots.cd_diagram(DEMSAR, title="AUC", alpha=0.1)
    drawn = texts(figure)
    assert "14 blocks" in drawn
    for name, rank in {"C4.5": 3.143, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}.items():
        assert f"{name} {rank:.2f}" in drawn
    assert "CD = 1.12" in drawn
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 3.5]
    # at 10 % (the level of the paper's figure) C4.5 differs from C4.5+m and C4.5+m+cf, C4.5+cf from nobody
    assert [tuple(np.round(bar.get_xdata() + [0.04, -0.04], 3)) for bar in bars] == [
        (1.964, 2.893),
        (2.893, 3.143),
    ]


def test_trade_off_puts_each_cell_where_its_numbers_are() -> None:
    board = over_trials(make_rows())
    figure = plots.trade_off(board)
    for axis, shift in zip(figure.axes, ("near", "far"), strict=True):
        points = {
            (round(x, 6), round(y, 6)) for c in axis.containers for x, y in zip(*c[0].get_data(), strict=True)
        }
        wanted = zip(board["id_accuracy"], board[f"{shift}_auroc"], strict=True)
        assert points == {(round(100 * a, 6), round(100 * b, 6)) for a, b in wanted}


def test_one_broken_scorer_does_not_press_the_others_together() -> None:
    rows = make_rows(methods=tuple("abcde"), scorers=("msp", "knn"), splits=1, seeds=1)
    near = rows["shift"] == "near"
    rows.loc[near, "auroc"] = [0.9 + 0.001 * i for i in range(near.sum())]
    rows.loc[near & (rows["method"] == "a") & (rows["scorer"] == "msp"), "auroc"] = 0.2
    figure = plots.trade_off(over_trials(rows))
    low, high = figure.axes[0].get_ylim()
    assert 89 < low < high < 93
    assert "1 off the scale" in texts(figure)


def test_pareto_front_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 12))
        cost, quality = rng.integers(0, 5, n).tolist(), rng.integers(0, 5, n).tolist()
        front = plots.pareto(cost, quality)
        points = set(zip(cost, quality, strict=True))
        unbeaten = {
            (c, q) for c, q in points if not any(d <= c and r >= q and (d, r) != (c, q) for d, r in points)
        }
        assert {(cost[i], quality[i]) for i in front} == unbeaten
    assert plots.pareto([], []) == []


def test_cost_quality_names_the_front() -> None:
    board = over_trials(make_rows())
    spent = board[["network", "method", "scorer", "tune"]].assign(score_seconds_per_1000=[0.1, 0.2, 0.3, 0.4])
    figure = plots.cost_quality(board, spent)  # best ranks first and cheapest: the front is the first alone
    assert figure.axes[0].get_xscale() == "log"
    assert [t.get_text() for t in figure.axes[0].texts] == [board["scorer"].iloc[0]]
