"""Pictures: what they draw is checked on the artists, not on pixels; the files are the same bytes each
time."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn import metrics as sk

from oodbench.evaluation.leaderboard import over_trials
from oodbench.report import distributions, plots
from tests.evaluation.frames import make_rows, make_samples


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_rows(splits=2)


@pytest.fixture(scope="module")
def samples(rows: pd.DataFrame) -> pd.DataFrame:
    return make_samples(rows)


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return " | ".join(t.get_text() for t in figure.findobj(Text))


def test_draw_all_writes_each_kind_as_png_and_svg_the_same_each_time(
    rows: pd.DataFrame, samples: pd.DataFrame, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = plots.draw_all(rows, samples, tmp_path / "a")
    long = samples.explode("value").astype({"value": float})  # one row per sample is welcome too
    assert [f.name for f in plots.draw_all(rows, long, tmp_path / "b")] == [f.name for f in written]
    kinds = ("heatmap", "scores", "roc", "known-unknown", "trade-off", "ranks-methods", "ranks-scorers")
    assert [f.name for f in written] == [
        f"{kind}-p-mlp.{suffix}" for kind in kinds for suffix in ("png", "svg")
    ]
    for file in written:
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
        assert file.stat().st_size < 600_000


def test_a_hostile_name_stays_inside_the_folder(
    rows: pd.DataFrame, samples: pd.DataFrame, tmp_path: Path
) -> None:
    evil = "../../<script>$x_1^$"
    written = plots.draw_all(
        rows.assign(pair=evil, method=evil), samples.assign(pair=evil, method=evil), tmp_path
    )
    assert all(f.parent == tmp_path for f in written)
    assert not any("<script>" in f.read_text() for f in written if f.suffix == ".svg")


def test_roc_curves_have_the_area_that_scikit_learn_finds(samples: pd.DataFrame) -> None:
    inside, outside = (
        samples.loc[(samples["scorer"] == "msp") & (samples["ood"] == o), "value"].iloc[0].round(1)
        for o in ("", "unknown")
    )
    fpr, tpr = distributions.roc_curve(inside, outside)
    label = np.repeat([0, 1], [len(inside), len(outside)])
    assert np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2) == pytest.approx(
        sk.roc_auc_score(label, np.concatenate([inside, outside]))
    )
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    figure = plots.roc_curves(samples[samples["scorer"] == "msp"])
    near = samples[(samples["scorer"] == "msp") & (samples["method"] == "ce")]
    areas = [
        sk.roc_auc_score(label, np.concatenate([trial.loc[trial["shift"] == "id", "value"].iloc[0], value]))
        for _, trial in near.groupby(["split", "seed"])
        for value in trial.loc[trial["shift"] == "near", "value"]
    ]
    assert f"msp {100 * np.mean(areas):.1f}" in texts(figure)


def test_known_unknown_shares_its_scale_across_methods(samples: pd.DataFrame) -> None:
    figure = plots.known_unknown(samples)
    top, bottom = figure.axes[:2], figure.axes[2:]
    assert len(top) == len(bottom) == 2
    for row in (top, bottom):
        assert len({axis.get_xlim() for axis in row}) == len({axis.get_ylim() for axis in row}) == 1
    assert top[0].get_xlim()[1] == 1
    assert all(
        name in texts(figure)
        for name in ("maximal probability", "maximal logit", "known (ID)", "near-OOD", "far-OOD", "ce", "als")
    )


def test_heat_map_shows_the_boards_means_and_a_dash_for_none(rows: pd.DataFrame) -> None:
    board = over_trials(rows)
    figure = plots.heat_map(board)
    assert all(f"{100 * v:.1f}" in texts(figure) for v in board["near_auroc"])
    rows = rows.copy()
    rows.loc[(rows["scorer"] == "knn") & (rows["method"] == "als"), "status"] = "failed"
    assert "–" in texts(plots.heat_map(over_trials(rows)))


def test_histograms_take_one_trial_and_survive_constant_and_missing_scores(
    samples: pd.DataFrame, tmp_path: Path
) -> None:
    flat = samples[samples["scorer"] == "msp"].copy()
    flat["value"] = [np.zeros(5)] * len(flat)
    flat = flat[flat["method"] != "als"]
    both = pd.concat([flat, samples[(samples["scorer"] == "knn") & (samples["method"] == "als")]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.score_histograms(both)
        plots.save(figure, tmp_path / "x")
    assert "split 0, seed 0" in texts(figure)
    assert "no scores" in texts(figure)


def test_a_method_without_scores_has_no_empty_legend(samples: pd.DataFrame) -> None:
    some = samples[(samples["method"] != "als") | samples["scorer"].isin(list(distributions.QUANTITY))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "No artists with labels found to put in legend"
        figure = plots.roc_curves(some)
        figure.canvas.draw()
    assert [axis.get_legend() is not None for axis in figure.axes] == [True, False, True, False]
    assert "no scores" in texts(figure)
    plots.score_histograms(
        some.sort_values("method", kind="stable")
    )  # the first panel is empty: the legend is taken from another
    assert "near-OOD" in texts(plots.score_histograms(some.sort_values("method", kind="stable")))


def test_long_names_leave_room_for_the_panels(tmp_path: Path) -> None:
    long = "outlier-exposure(lam=0.5, weight=10, temperature=4)"
    for methods in ((long,), (long, "als(lam=10, k=argmax, only_correct=true)", "ce")):
        rows = make_rows(
            methods=methods,
            scorers=("msp", "perturbed(eps=0.0014, temperature=1000)"),
            pair="osr-cifar10(trial=3)",
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # "constrained_layout not applied because axes sizes collapsed to zero"
            assert plots.draw_all(rows, make_samples(rows), tmp_path)
    assert plots.wrapped("als(lam=10)") == "als(lam=10)"
    assert plots.wrapped(long).split("\n") == ["outlier-exposure", "(lam=0.5, weight=10,", "temperature=4)"]
    assert plots.short("als(lam=0.1, k=argmax)", 15) == "als(lam…argmax)"
    assert len(plots.short(long, 20)) == 20


def test_known_unknown_draws_whole_bins_up_to_the_highest(samples: pd.DataFrame) -> None:
    from matplotlib.patches import StepPatch

    figure = plots.known_unknown(samples)
    for axis in figure.axes:
        steps = [p.get_data() for p in axis.patches if isinstance(p, StepPatch)]
        assert steps
        assert max(s.values.max() for s in steps) <= axis.get_ylim()[1]
        assert all(s.values.sum() == pytest.approx(1, abs=0.02) for s in steps)


def test_ink_stands_out_as_wcag_wants() -> None:
    assert (plots.ink((0, 0, 0)), plots.ink((1, 1, 1)), plots.ink((0.5, 0.5, 0.5)),
    plots.ink((0, 0.13, 0.3))) == (
        "white", "black", "black", "white",
    )  # fmt: skip


def test_nothing_is_left_behind_in_matplotlib(samples: pd.DataFrame) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.known_unknown(samples)
    assert dict(matplotlib.rcParams) == before


def test_rows_without_samples_still_give_a_heat_map_and_failed_rows_nothing(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    nothing = pd.DataFrame(columns=["pair", "network", "method", "scorer", "value"])
    assert [f.stem for f in plots.draw_all(rows, nothing, tmp_path)][:2] == ["heatmap-p-mlp"] * 2
    assert plots.draw_all(rows.assign(status="failed"), nothing, tmp_path) == []


def test_each_method_is_shown_before_its_variants() -> None:
    names = ["ce", "ls(epsilon=0.05)", "ls", "als(lam=100)", "als(lam=10)", "maxsup", "ce"]
    assert plots.one_of_each(names, 4) == ["ce", "ls", "als(lam=100)", "maxsup"]
    assert plots.one_of_each(names, 5) == ["ce", "ls(epsilon=0.05)", "ls", "als(lam=100)", "maxsup"]
    assert plots.one_of_each(names, 9) == names[:-1]
