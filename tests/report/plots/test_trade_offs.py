"""Pictures of a leaderboard: what they draw is checked on the artists, against numbers found another way."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from oodbench.evaluation import statistics
from oodbench.evaluation.leaderboard import over_trials, trials
from oodbench.report import plots
from tests.evaluation.frames import make_rows
from tests.evaluation.statistics.test_trials import DEMSAR


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return " | ".join(t.get_text() for t in figure.findobj(Text))


def sweep(lams: tuple[float, ...] = (0.1, 1.0, 10.0)) -> pd.DataFrame:
    names = {"ce": "{}", **{f"als(lam={x:g})": json.dumps({"epsilon": 0.1, "lam": x}) for x in lams}}
    rows = make_rows(methods=tuple(names))
    return rows.assign(method_params=rows["method"].map(names))


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


def test_a_sweep_is_found_and_drawn_along_its_parameter() -> None:
    board = over_trials(sweep())
    assert plots.swept(board) == {
        ("als", "lam"): {"als(lam=0.1)": 0.1, "als(lam=1)": 1.0, "als(lam=10)": 10.0}
    }
    assert plots.swept(over_trials(sweep((0.1, 1.0)))) == {}  # two points make no curve
    figure = plots.sweep_curves(board, "als", "lam")
    near = figure.axes[0]
    assert near.get_xscale() == "log"
    figure.canvas.draw()
    assert [t.get_text() for t in near.get_xticklabels()] == ["0.1", "1", "10"]
    for scorer in ("msp", "knn"):
        (line,) = (x for x in near.lines if x.get_label() == scorer)
        mine = board[(board["scorer"] == scorer)].set_index("method")["near_auroc"]
        assert line.get_ydata() == pytest.approx([100 * mine[f"als(lam={x})"] for x in ("0.1", "1", "10")])
    assert sum(x.get_linestyle() == ":" for x in near.lines) == 2  # cross-entropy's level, for each scorer
    assert "ID accuracy" in texts(figure)


def test_a_sweep_is_compared_with_the_suites_first_method_not_with_the_best_one() -> None:
    rows = pd.concat([sweep(), make_rows(methods=("focal",))])
    rows.loc[rows["method"] == "focal", "auroc"] = 1.0
    board = over_trials(rows)
    assert board["method"].iloc[0] == "focal"
    figure = plots.draw(board, trials(rows), None, scorers=["msp"])["sweep-als-lam"]
    assert "dotted: ce" in texts(figure)


def test_a_sweep_from_zero_shows_no_negative_values_and_no_interval_beyond_a_fraction() -> None:
    figure = plots.sweep_curves(over_trials(sweep((0.0, 0.1, 1.0, 10.0))), "als", "lam")
    near = figure.axes[0]
    assert near.get_xscale() == "symlog"
    assert -0.1 < near.get_xlim()[0] < 0
    for band in near.collections:
        y = band.get_paths()[0].vertices[:, 1]
        assert y.min() >= 0
        assert y.max() <= 100


def test_severity_curves_average_over_corruptions() -> None:
    assert plots.severity_of("gaussian_noise:3") == ("gaussian_noise", 3)
    assert plots.severity_of("corrupted(kind=fog, severity=4)")[1] == 4
    assert plots.severity_of("cifar10c") is None
    parts = [
        make_rows().assign(condition=c) for c in ("clean", "fog:1", "fog:5", "blur:1", "blur:5", "other")
    ]
    for i, part in enumerate(parts):
        part["auroc"] = 0.9 - 0.1 * i
    figure = plots.severity_curves(over_trials(pd.concat(parts)), scorers=["msp"])
    (line,) = (x for x in figure.axes[0].lines if x.get_label() == "msp")
    assert list(line.get_xdata()) == [0, 1, 5]
    assert line.get_ydata() == pytest.approx([90, (80 + 60) / 2, (70 + 50) / 2])


def test_draw_all_finds_what_there_is_to_show(tmp_path: Path) -> None:
    rows = pd.concat([sweep(), make_rows(pair="q")])
    stages = [
        (m, s, stage, n)
        for m in rows["method"].unique()
        for s in ("msp", "knn")
        for stage, n in (("fit", 1), ("score", 9))
    ]
    timing = pd.DataFrame(
        [["k", "mlp", *at, 0.4, 10.0] for at in stages],
        columns=["run_key", "network", "method", "scorer", "stage", "n", "seconds", "bytes"],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = {f.stem for f in plots.draw_all(rows, pd.DataFrame(), tmp_path, timing)}
    kinds = ("heatmap", "trade-off", "cost", "sweep-als-lam", "ranks-methods", "ranks-scorers")
    assert written >= {*(f"{kind}-p-mlp" for kind in kinds), "heatmap-q-mlp", "ranks-by-pair"}


@pytest.mark.parametrize("case", ["one trial", "one cell", "all equal", "a NaN cell"])
def test_degenerate_boards_draw_or_have_nothing_to_show(case: str) -> None:
    small = {"one trial": {"splits": 1, "seeds": 1}, "one cell": {"methods": ("a",), "scorers": ("msp",)}}
    rows = make_rows(**small.get(case, {}))
    if case == "all equal":
        rows["auroc"] = rows["auroc"].where(rows["auroc"].isna(), 0.5)
    if case == "a NaN cell":
        rows.loc[(rows["scorer"] == "knn") & (rows["method"] == "als"), "auroc"] = np.nan
    board, each = over_trials(rows), trials(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = plots.draw(board, each, None, scorers=["msp"])
        assert "trade-off" in found
        blocks = statistics.blocks(each, "near_auroc", of="scorer", within=[])
        for figure in [*found.values(), plots.rank_heat_map(board), plots.cd_diagram(blocks)]:
            figure.canvas.draw()
