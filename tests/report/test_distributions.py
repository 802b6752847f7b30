"""Scores of many trials as densities and ROC curves, against scikit-learn and NumPy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from oodbench.report import distributions
from tests.evaluation.frames import make_rows, make_samples


def test_pooled_takes_every_set_and_trial_of_a_shift() -> None:
    samples = make_samples(make_rows(), n=7)
    near = distributions.pooled(samples, "near")
    assert np.array_equal(near, np.concatenate(samples.loc[samples["shift"] == "near", "value"].to_list()))
    assert len(distributions.pooled(samples, "none")) == 0


def test_one_wild_score_does_not_fill_a_bin_alone() -> None:
    for wild in (1e9, -1e9):
        edges = distributions.bin_edges(np.append(np.linspace(0, 1, 1000), wild), 10)
        assert len(edges) == 11
        assert 0 <= edges[0] < 0.02
        assert 0.98 < edges[-1] <= 1
    assert distributions.bin_edges(np.full(5, 3.0), 2).tolist() == [2.5, 3.0, 3.5]  # all equal
    assert distributions.bin_edges(np.empty(0), 2).tolist() == [0.0, 0.5, 1.0]


def test_a_probability_is_drawn_up_to_one() -> None:
    values = np.array([0.4, 0.9])
    assert distributions.quantity_edges("max_probability", values, 6).tolist() == pytest.approx(
        np.linspace(0.4, 1, 7)
    )
    logits = distributions.quantity_edges("max_logit", np.linspace(-5, 20, 100), 5)
    assert -5 <= logits[0] < logits[-1] <= 20


@pytest.mark.parametrize("ties", [False, True])
def test_rocs_have_the_area_and_the_rates_that_scikit_learn_finds(ties: bool) -> None:
    samples = make_samples(make_rows(methods=("ce",), splits=1, seeds=2))
    mine = samples[samples["scorer"] == "msp"]
    if ties:
        mine = mine.assign(value=[v.round() for v in mine["value"]])
    at = np.linspace(0, 1, 21)
    found = distributions.rocs(mine, at)
    assert set(found) == {("near", "unknown"), ("near", "cousins"), ("far", "noise")}
    for (_, ood), each in found.items():
        assert len(each) == 2
        for (rates, area), (_, trial) in zip(each, mine.groupby("seed"), strict=True):
            inside, outside = (trial.loc[trial["ood"] == o, "value"].iloc[0] for o in ("", ood))
            label = np.repeat([0, 1], [len(inside), len(outside)])
            scores = np.concatenate([inside, outside])
            assert area == pytest.approx(sk.roc_auc_score(label, scores))
            fpr, tpr, _ = sk.roc_curve(label, scores, drop_intermediate=False)
            middle = ~np.isin(at, fpr)  # between two scores, where the curve is a line
            assert rates[middle] == pytest.approx(np.interp(at, fpr, tpr)[middle])


def test_compact_gathers_one_row_per_sample_into_arrays() -> None:
    arrays = make_samples(make_rows(splits=1, seeds=1), n=5)
    arrays["index"] = [np.arange(5)] * len(arrays)
    long = arrays.explode(["value", "index"]).astype({"value": float, "index": int})
    again = distributions.compact(long)
    assert len(again) == len(arrays)
    for a, b in zip(again["value"], arrays["value"], strict=True):
        assert np.array_equal(a, b)
    assert distributions.compact(arrays)["value"].tolist() == arrays["value"].tolist()
    assert distributions.compact(pd.DataFrame()).empty
