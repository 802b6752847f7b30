"""Pictures: what they draw is checked on the artists, not on pixels; the files are the same bytes each
time."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from oodbench.report import distributions, plots
from tests.report.plots.figures import texts


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


def test_known_unknown_draws_whole_bins_up_to_the_highest(samples: pd.DataFrame) -> None:
    from matplotlib.patches import StepPatch

    figure = plots.known_unknown(samples)
    for axis in figure.axes:
        steps = [p.get_data() for p in axis.patches if isinstance(p, StepPatch)]
        assert steps
        assert max(s.values.max() for s in steps) <= axis.get_ylim()[1]
        assert all(s.values.sum() == pytest.approx(1, abs=0.02) for s in steps)
