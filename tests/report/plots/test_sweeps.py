"""Curves over a parameter and over severity."""

from __future__ import annotations

import pandas as pd
import pytest

from oodbench.evaluation.leaderboard import over_trials
from oodbench.report import plots
from tests.evaluation.frames import make_rows
from tests.report.plots.figures import sweep, texts


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
