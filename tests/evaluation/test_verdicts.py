"""Verdicts: right p values, honest error rates under a split effect, and every mistake of a suite's claims
named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from oodbench.evaluation.claims import Claim, Side
from oodbench.evaluation.verdicts import COLUMNS, judge, needed, power, t_test
from oodbench.runs.runner import run
from oodbench.suite.load import load_suite
from tests.evaluation.stated import FAMILIES, SUITE, claim_of, rows_of


@pytest.mark.parametrize("expect", ["lower", "higher", "not-lower", "not-higher", "equal-within"])
def test_p_values_are_scipys(expect: str) -> None:
    d, m = np.random.default_rng(1).normal(0.004, 0.01, 6), 0.005
    one = lambda at, side: scipy_stats.ttest_1samp(d, at, alternative=side).pvalue  # noqa: E731
    want = {
        "lower": (one(0, "less"), one(0, "greater")), "higher": (one(0, "greater"), one(0, "less")),
        "not-lower": (one(-m, "greater"), one(-m, "less")), "not-higher": (one(m, "less"), one(m, "greater")),
        "equal-within": (max(one(m, "less"), one(-m, "greater")), min(one(m, "greater"), one(-m, "less"))),
    }[expect]  # fmt: skip
    assert tuple(t_test(d, expect, m)) == pytest.approx(want)


def test_units_that_all_agree_and_too_few() -> None:
    assert tuple(t_test(np.array([0.1, 0.1, 0.1]), "higher", 0.01)) == (0.0, 1.0)
    assert t_test(np.zeros(3), "higher", 0.01).p == 1.0
    assert tuple(t_test(np.zeros(3), "equal-within", 0.01)) == (0.0, 1.0)
    assert np.isnan(t_test(np.array([0.1]), "higher", 0.01).p)


@pytest.mark.parametrize("expect", ["lower", "higher", "not-lower", "not-higher", "equal-within"])
def test_no_true_difference_wrong_verdicts_at_most_at_the_stated_rate(expect: str) -> None:
    """5 splits x 3 seeds x 4 scorers; the difference has a split effect common to seeds and scorers, and
    nothing on average.

    For claims with a margin the true difference lies on its border, where being wrong is easiest.
    """
    rng = np.random.default_rng(0)
    border = {"not-lower": -0.005, "not-higher": 0.005, "equal-within": 0.005}.get(expect, 0.0)
    wrong, trials = 0, 400
    for _ in range(trials):
        cells = border + rng.normal(0, 0.01, (5, 1, 1)) + rng.normal(0, 0.005, (5, 3, 4))
        d = cells.mean(axis=1)
        p = [t_test(d[:, s], expect, 0.005) for s in range(4)]
        wrong += min(t.p for t in p) * 4 < 0.05  # Holm's first step decides whether there is any verdict
    # 5 % of 400 is 20; more than 32 has a chance below 0.5 %
    assert wrong <= 32
    if (
        expect == "lower"
    ):  # taking the 15 trials for 15 independent ones errs far more often, which is why they are not
        naive = sum(
            scipy_stats.ttest_1samp(
                (rng.normal(0, 0.01, (5, 1)) + rng.normal(0, 0.005, (5, 3))).ravel(), 0
            ).pvalue
            < 0.05
            for _ in range(400)
        )
        assert naive > 60


def test_the_whole_judgement_keeps_the_rate_and_has_the_power_it_states() -> None:
    """Through judge() itself: seeds averaged, splits as units, Holm over scorers."""
    rng = np.random.default_rng(3)
    claim, true, spread = claim_of("lower"), -0.02, 0.01
    outcomes = {"null": [0, 0, 0], "effect": [0, 0, 0]}
    for kind, mean in (("null", 0.0), ("effect", true)):
        for _ in range(60):
            d = mean + rng.normal(0, spread, (5, 1, 1)) + np.zeros((5, 2, 1))
            verdict = judge(rows_of(d), [claim], FAMILIES).iloc[-1]["verdict"]
            outcomes[kind][["undecided", "supported", "contradicted"].index(verdict)] += 1
    assert sum(outcomes["null"][1:]) <= 8  # 3 expected; more than 8 has a chance below 0.5 %
    stated = power(abs(true), spread, 5, 0.05)
    assert outcomes["effect"][1] / 60 == pytest.approx(stated, abs=0.17)  # three standard errors
    assert outcomes["effect"][2] == 0


def test_power_against_statsmodels_worked_value_and_needed_is_the_smallest() -> None:
    # paired t test, effect size 0.5, two-sided 5 %: 34 pairs for 80 % (Cohen 1988, table 2.4; G*Power's
    # manual gives the same)
    assert power(0.5, 1.0, 34, 0.05) == pytest.approx(0.8078, abs=2e-4)
    d = 0.5 + np.array([-1.0, 1.0]) / np.sqrt(2)  # mean 0.5, standard deviation 1
    n = needed(d, "higher", 0.1, 0.05)
    assert n == 34
    assert power(0.5, 1.0, n - 1, 0.05) < 0.8
    assert needed(np.array([-1e-4, 1e-4 + 1e-9]), "higher", 0.1, 0.05) is None


def test_seeds_are_averaged_and_splits_are_units() -> None:
    d = np.array([[[-0.02], [0.0]], [[-0.01], [-0.03]], [[-0.03], [-0.01]]])
    cell = judge(rows_of(d), [claim_of()], FAMILIES).iloc[0]
    assert (cell["n"], cell["unit"]) == (3, "split")
    assert cell["difference"] == pytest.approx(-0.05 / 3)
    assert cell["p"] == pytest.approx(scipy_stats.ttest_1samp([-0.01, -0.02, -0.02], 0).pvalue)
    alone = judge(rows_of(d[:1]), [claim_of()], FAMILIES).iloc[0]
    assert (alone["n"], alone["unit"]) == (2, "seed")
    assert "the verdict is for that split" in alone["note"]


def test_verdicts_holm_and_overall() -> None:
    rng = np.random.default_rng(5)
    d = np.stack([rng.normal(-0.05, 0.004, (5, 1)), rng.normal(0.0, 0.01, (5, 1))], axis=2)
    verdicts = judge(rows_of(d), [claim_of(scorers=("s0", "s1"))], FAMILIES)
    assert list(verdicts.columns) == list(COLUMNS)
    assert verdicts["level"].tolist() == ["cell", "cell", "overall"]
    assert verdicts["verdict"].tolist() == ["supported", "undecided", "supported"]
    first = verdicts.iloc[0]
    assert first["p_adjusted"] == pytest.approx(min(1, 2 * first["p"]))
    assert verdicts.iloc[2]["note"].startswith(
        "1 of 2 cells supported, 0 contradicted, 1 undecided; A is above B in 0 of 1 pairs, below in 1"
    )
    assert judge(rows_of(-d), [claim_of(scorers=("s0", "s1"))], FAMILIES)["verdict"].tolist()[::2] == [
        "contradicted",
        "contradicted",
    ]


def test_a_missing_side_or_trial_is_undecided_and_says_so() -> None:
    d = np.full((1, 1, 1), -0.1)
    one = judge(rows_of(d), [claim_of()], FAMILIES).iloc[0]
    assert (one["verdict"], one["n"], one["note"]) == ("undecided", 1, "one unit has no spread")
    none = judge(rows_of(d).assign(method="b"), [claim_of()], FAMILIES).iloc[0]
    assert (none["verdict"], none["n"], none["note"]) == ("undecided", 0, "no trial has both sides")


def test_a_variant_is_selected_per_split_on_validation_alone() -> None:
    base = rows_of(np.zeros((3, 2, 1)))
    better = {
        "weak": [0.9, 0.1, 0.5],
        "strong": [0.1, 0.9, 0.5],
    }  # validation accuracy by split; a tie in the last
    parts = [base[base.method == "b"]]
    for label, quality in better.items():
        mine = base[base.method == "a"].assign(method=label)
        mine["auroc"] = 0.8 if label == "weak" else 0.6
        mine["val_accuracy"] = mine["split"].map(lambda s, q=quality: q[int(s)]).where(mine["ood"] == "")
        parts.append(mine)
    claim = Claim(
        id="c",
        says="x",
        compare=(Side(method="als", select="val_accuracy"), Side(method="b")),
        expect="higher",
        scorers=("s0",),
    )
    cell = judge(pd.concat(parts), [claim], {"weak": "als", "strong": "als", "b": "b"}).iloc[0]
    assert json.loads(cell["selected"]) == {
        "als split 0": "weak",
        "als split 1": "strong",
        "als split 2": "weak",
    }
    assert cell["mean_a"] == pytest.approx((0.8 + 0.6 + 0.8) / 3)


def test_under_a_condition_the_variant_is_selected_on_clean_validation(tmp_path: Path) -> None:
    """Rows under attack carry no validation accuracy of their own."""
    clean = rows_of(np.full((3, 1, 1), 0.1))
    attacked = clean.assign(condition="pgd on ID", val_accuracy=np.nan, auroc=clean["auroc"] - 0.3)
    sides = (Side(method="a", select="val_accuracy"), Side(method="b"))
    claim = claim_of("higher", condition="pgd on ID").model_copy(update={"compare": sides})
    cell = judge(pd.concat([clean, attacked]), [claim], FAMILIES).iloc[0]
    assert (cell["n"], cell["verdict"]) == (3, "supported")
    assert cell["mean_a"] == pytest.approx(0.5)


def test_a_pair_without_far_sets_has_no_far_cell() -> None:
    """An empty cell would be counted in the family and ask for more trials than are needed."""
    d = np.random.default_rng(0).normal(0.05, 0.02, (4, 1, 1))
    near, far = rows_of(d), rows_of(d, pair="q", shift="far")
    verdicts = judge(pd.concat([near, far]), [claim_of("higher", shift="any")], FAMILIES)
    assert verdicts[["pair", "shift"]].to_numpy().tolist()[:2] == [["p", "near"], ["q", "far"]]
    assert verdicts["level"].tolist() == ["cell", "cell", "overall"]
    assert verdicts.iloc[0]["p_adjusted"] == pytest.approx(2 * verdicts.iloc[0]["p"])
    assert (
        judge(near, [claim_of("higher", shift="far")], FAMILIES).iloc[0]["note"] == "no trial has both sides"
    )


def test_id_metrics_have_one_cell_for_each_pair() -> None:
    d = np.random.default_rng(0).normal(0.05, 0.001, (4, 1, 2))
    verdicts = judge(
        rows_of(d), [claim_of("higher", scorers=("s0", "s1"), metric="id_accuracy", shift="any")], FAMILIES
    )
    assert verdicts["level"].tolist() == ["cell", "overall"]
    assert verdicts.iloc[0]["verdict"] == "supported"
    assert (verdicts.iloc[0]["scorer"], verdicts.iloc[0]["shift"]) == ("", "")


def test_a_run_writes_its_verdicts_and_the_resolved_suite_states_them_again(tmp_path: Path) -> None:
    file = tmp_path / "stated.yaml"
    file.write_text(SUITE)
    done = run(file, results=tmp_path, device="cpu")
    written = pd.read_csv(tmp_path / "stated" / "claims.csv")
    assert written["level"].tolist() == ["cell", "overall", "cell", "cell", "overall"]
    assert written["b"].tolist()[-1] == "cross-entropy / mls"
    assert written.loc[written.claim == "two", "margin"].unique() == [0.5]
    suite = load_suite(tmp_path / "stated" / "suite.yaml")
    assert suite.claims == load_suite(file).claims
    again = judge(done.rows, suite.claims, {m.label: m.spec.name for m in suite.methods})
    pd.testing.assert_frame_equal(again, done.claims)


def test_a_claim_with_a_supported_and_a_contradicted_cell_is_undecided() -> None:
    d = np.random.default_rng(5).normal(0, 0.004, (5, 1, 2)) + np.array([-0.05, 0.05])
    verdicts = judge(rows_of(d), [claim_of(scorers=("s0", "s1"))], FAMILIES)
    assert verdicts["verdict"].tolist() == ["supported", "contradicted", "undecided"]
    assert verdicts.iloc[-1]["note"].startswith("1 of 2 cells supported, 1 contradicted, 0 undecided")


def test_the_units_needed_count_with_the_familys_alpha() -> None:
    """With four cells a decision needs p < alpha / 4 in the first step of Holm, and more units than alone."""
    d = np.random.default_rng(2).normal(-0.02, 0.02, (5, 1, 4))
    cells = judge(rows_of(d), [claim_of(scorers=("s0", "s1", "s2", "s3"))], FAMILIES).iloc[:4]
    assert (cells["verdict"] == "undecided").all()

    def smallest(x: np.ndarray, alpha: float) -> int:
        effect = abs(x.mean()) / x.std(ddof=1)
        for n in range(2, 1001):
            limit = scipy_stats.t.ppf(1 - alpha / 2, n - 1)
            if scipy_stats.nct.sf(limit, n - 1, effect * math.sqrt(n)) >= 0.8:
                return n
        raise AssertionError("the example should need fewer than 1,000 units")

    samples = d[:, 0].T
    assert cells["needed"].tolist() == [smallest(x, 0.05 / 4) for x in samples]
    assert all(smallest(x, 0.05 / 4) > smallest(x, 0.05) for x in samples)
