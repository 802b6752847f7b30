"""Each statistic against a published worked example, another library, brute force or a simulation; and
degenerate input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from sklearn import metrics as sk

from oodbench.evaluation import metrics, statistics

# Demsar, JMLR 2006, Table 6: AUC of four variants of C4.5 on 14 data sets. Where the printed three decimals
# tie two of them (voting), the paper's ranks show which was better; the last digit there is ours.
DEMSAR = pd.DataFrame(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931], [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875], [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ],
    columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
)  # fmt: skip

# Turck et al. 2010, the aSAH example of the R package pROC: outcome (Good, Poor), WFNS score, S100B.
ASAH = """
G,1,.13 G,1,.14 G,1,.1 G,1,.04 P,3,.13 P,2,.1 G,5,.47 P,4,.16 G,1,.18 G,2,.1 P,5,.12 G,2,.1 P,5,.44 P,5,.71
G,1,.04 G,2,.08 P,5,.49 G,2,.04 P,2,.07 P,5,.33 P,2,.09 G,1,.09 P,1,.07 G,1,.11 G,1,.07 G,2,.17 G,1,.07
G,2,.11 G,1,.13 G,1,.19 G,3,.05 G,4,.16 P,2,.41 G,1,.14 G,4,.34 P,5,.35 P,4,.48 G,1,.09 P,4,.96 P,2,.25 G,5,.5
G,5,.46 G,1,.16 G,1,.07 G,2,.43 G,4,.45 G,1,.11 G,1,.08 G,2,.09 P,5,.86 P,5,.52 G,2,.08 G,1,.06 G,2,.13
P,5,2.07 G,1,.1 G,2,.14 G,2,.15 P,2,.07 G,1,.06 P,5,.77 G,1,.05 G,1,.09 P,2,.3 P,5,.03 P,2,.09 G,1,.04 P,4,.23
P,5,.7 G,2,.09 P,4,.27 P,4,.71 P,1,.08 P,4,.26 G,1,.08 G,2,.16 G,1,.09 P,4,.13 P,2,.1 G,1,.08 P,2,.11 G,3,.33
G,2,.11 G,4,.28 G,2,.07 G,1,.1 G,4,.32 P,5,.22 G,1,.07 G,1,.05 G,5,.24 G,4,.38 G,2,.1 G,2,.15 G,1,.08 G,1,.14
G,1,.1 G,3,.07 G,1,.04 G,2,.19 P,5,.56 P,2,.14 P,2,.58 P,5,.32 P,5,.82 P,5,.74 G,2,.15 G,4,.47 G,4,.17 P,5,.44
G,1,.15 G,1,.5 G,1,.48
"""


# ---------------------------------------------------------------- DeLong


def test_delong_gives_the_values_that_proc_documents() -> None:
    rows = [row.split(",") for row in ASAH.split()]
    good, poor = ([(float(w), float(s)) for o, w, s in rows if o == outcome] for outcome in "GP")
    assert (len(good), len(poor)) == (72, 41)
    got = statistics.delong(
        [w for w, _ in good], [w for w, _ in poor], [s for _, s in good], [s for _, s in poor]
    )
    assert (got.a, got.b) == pytest.approx((0.8236789, 0.7313686), abs=5e-8)
    assert got.z == pytest.approx(2.209, abs=5e-4)
    assert got.p == pytest.approx(0.02718, abs=5e-6)
    assert got.low < got.difference < got.high
    assert (got.high - got.low) / 2 == pytest.approx(1.959964 * got.se)


@pytest.mark.parametrize("ties", [False, True])
def test_delong_against_its_definition(ties: bool) -> None:
    r = np.random.default_rng(0)
    inside, outside = r.normal(size=(40, 2)), r.normal(0.8, 1, size=(30, 2))
    if ties:
        inside, outside = inside.round(), outside.round()
    kernel = (inside[:, None] < outside) + 0.5 * (inside[:, None] == outside)  # (N, M, 2)
    s_in, s_out = np.cov(kernel.mean(1).T), np.cov(kernel.mean(0).T)
    covariance = s_in / 40 + s_out / 30
    got = statistics.delong(inside[:, 0], outside[:, 0], inside[:, 1], outside[:, 1])
    assert got.a == pytest.approx(
        sk.roc_auc_score([0] * 40 + [1] * 30, np.concatenate([inside, outside])[:, 0])
    )
    assert got.se**2 == pytest.approx(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    mirrored = statistics.delong(inside[:, 1], outside[:, 1], inside[:, 0], outside[:, 0])
    assert mirrored.difference == pytest.approx(-got.difference)
    assert mirrored.p == pytest.approx(got.p)


def test_delong_agrees_with_a_permutation_test() -> None:
    r = np.random.default_rng(1)
    truth_in, truth_out = r.normal(size=150), r.normal(1, 1, 150)
    a = truth_in + r.normal(0, 0.5, 150), truth_out + r.normal(0, 0.5, 150)
    b = truth_in + r.normal(0, 0.8, 150), truth_out + r.normal(0, 0.8, 150)
    got = statistics.delong(*a, *b)

    def difference(swap_in: np.ndarray, swap_out: np.ndarray) -> float:
        # under the null the two scores of a sample are exchangeable (after ranking, so that scales do not
        # matter)
        i, o = (
            np.where(s, y, x)
            for s, x, y in ((swap_in, ranks_a[0], ranks_b[0]), (swap_out, ranks_a[1], ranks_b[1]))
        )
        j, q = (
            np.where(s, x, y)
            for s, x, y in ((swap_in, ranks_a[0], ranks_b[0]), (swap_out, ranks_a[1], ranks_b[1]))
        )
        return float((i[:, None] < o).mean() - (j[:, None] < q).mean())

    ranks_a, ranks_b = (
        (r_all[:150], r_all[150:]) for r_all in (scipy_stats.rankdata(np.concatenate(x)) for x in (a, b))
    )
    null = [difference(r.random(150) < 0.5, r.random(150) < 0.5) for _ in range(600)]
    p = np.mean(np.abs(null) >= abs(got.difference))
    assert got.p == pytest.approx(p, abs=0.05)


def test_delong_on_degenerate_input() -> None:
    perfect = statistics.delong([0, 1], [2, 3], [0, 1], [5, 6])
    assert (perfect.a, perfect.difference, perfect.se, perfect.p) == (1.0, 0.0, 0.0, 1.0)
    assert statistics.delong([0, 1], [2, 3], [2, 3], [0, 1]).p == 0.0
    assert statistics.delong([0.0] * 5, [0.0] * 5, [0.0] * 5, [0.0] * 5).a == 0.5
    with pytest.raises(ValueError, match="same samples"):
        statistics.delong([0, 1], [2, 3], [0, 1, 2], [2, 3])
    with pytest.raises(ValueError, match="OOD scores b: 1 of 2 are not finite"):
        statistics.delong([0, 1], [2, 3], [0, 1], [2, math.nan])


# ---------------------------------------------------------------- bootstrap


@pytest.mark.parametrize("ties", [False, True])
def test_bootstrap_replicates_equal_metrics_of_the_resampled_scores(ties: bool) -> None:
    r = np.random.default_rng(0)
    pairs = [(r.normal(size=60), r.normal(1, 1, 45)) for _ in range(2)]
    if ties:
        pairs = [(i.round(), o.round()) for i, o in pairs]
    names = ("auroc", "fpr95_in", "fpr95_out")
    got = statistics.bootstrap(pairs, metrics=names, n=25, seed=3)
    rng = np.random.default_rng(3)  # the same draws again, then the plain metrics of what was drawn
    weight_in, weight_out = (
        statistics.resampling_weights(rng, 25, 60),
        statistics.resampling_weights(rng, 25, 45),
    )
    assert (weight_in.sum(1) == 60).all()
    assert (weight_out.sum(1) == 45).all()
    for b, j in itertools.product(range(25), range(2)):
        expected = metrics.detection_metrics(
            np.repeat(pairs[j][0], weight_in[b]), np.repeat(pairs[j][1], weight_out[b])
        )
        for name in names:
            assert got[name][b, j] == pytest.approx(expected[name], abs=1e-12), name


def test_bootstrap_is_paired_and_seeded() -> None:
    r = np.random.default_rng(0)
    inside, outside = r.normal(size=300), r.normal(1, 1, 200)
    same = statistics.bootstrap([(inside, outside), (3 * inside + 1, 3 * outside + 1)], n=50)["auroc"]
    assert (same[:, 0] == same[:, 1]).all()  # one draw for both: a monotone transform differs by nothing
    assert (same == statistics.bootstrap([(inside, outside)] * 2, n=50)["auroc"]).all()
    assert (same[:, 0] != statistics.bootstrap([(inside, outside)], n=50, seed=1)["auroc"][:, 0]).any()


def test_bootstrap_interval_covers_the_truth() -> None:
    # two unit normals 1.2 apart: AUROC = Phi(1.2 / sqrt 2); 95 % intervals of 300 experiments
    truth = scipy_stats.norm.cdf(1.2 / math.sqrt(2))
    r = np.random.default_rng(0)
    hits = 0
    for i in range(300):
        inside, outside = r.normal(size=80), r.normal(1.2, 1, 80)
        replicates = statistics.bootstrap([(inside, outside)], metrics=("auroc",), n=300, seed=i)["auroc"][
            :, 0
        ]
        interval = statistics.percentile_interval(0.0, replicates)
        hits += interval.low <= truth <= interval.high
    assert 0.90 <= hits / 300 <= 0.985


def test_bootstrap_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="cannot bootstrap 'ece'; allowed: auroc"):
        statistics.bootstrap([([0.0], [1.0])], metrics=("ece",))
    with pytest.raises(ValueError, match="same samples"):
        statistics.bootstrap([([0.0], [1.0]), ([0.0, 1.0], [1.0])])
    one = statistics.bootstrap([([0.0], [1.0])], n=3)
    assert (one["auroc"] == 1).all()
    assert (one["fpr95_in"] == 0).all()


# ---------------------------------------------------------------- trials


def test_t_interval_equals_scipy() -> None:
    x = [0.91, 0.93, 0.90, 0.95]
    got = statistics.t_interval([*x, math.nan])
    assert (got.low, got.high) == pytest.approx(
        scipy_stats.t.interval(0.95, 3, np.mean(x), scipy_stats.sem(x))
    )
    assert got.n == 4
    one = statistics.t_interval([0.9])
    assert one.value == 0.9
    assert math.isnan(one.low)
    assert math.isnan(statistics.t_interval([]).value)
    assert statistics.t_interval([0.5, 0.5, 0.5])[:3] == (0.5, 0.5, 0.5)


def _trials(values: np.ndarray) -> pd.DataFrame:
    """(splits, seeds) values as trials."""
    at = [(str(i), str(j), v) for (i, j), v in np.ndenumerate(values)]
    return pd.DataFrame(at, columns=["split", "seed", "auroc"])


def test_paired_trials_equals_scipy_on_split_means() -> None:
    r = np.random.default_rng(0)
    a, b = r.random((7, 3)), r.random((7, 3))
    got = statistics.paired_trials(_trials(a), _trials(b).sample(frac=1, random_state=0), "auroc")
    means = a.mean(1), b.mean(1)
    assert got.difference == pytest.approx((means[0] - means[1]).mean())
    assert got.p == pytest.approx(scipy_stats.ttest_rel(*means).pvalue)
    assert got.p_wilcoxon == pytest.approx(scipy_stats.wilcoxon(*means).pvalue)
    assert (got.n, got.unit, got.wins + got.ties + got.losses) == (7, "split", 7)
    assert got.p_sign == pytest.approx(scipy_stats.binomtest(got.wins, 7).pvalue)


def test_one_split_takes_seeds_as_units_and_few_units_have_no_wilcoxon() -> None:
    r = np.random.default_rng(0)
    a, b = r.random((1, 4)), r.random((1, 4))
    got = statistics.paired_trials(_trials(a), _trials(b), "auroc")
    assert (got.unit, got.n) == ("seed", 4)
    assert got.p == pytest.approx(scipy_stats.ttest_rel(a[0], b[0]).pvalue)
    assert math.isnan(got.p_wilcoxon)


def test_paired_trials_on_degenerate_input() -> None:
    one = statistics.paired_trials(_trials(np.array([[0.9]])), _trials(np.array([[0.8]])), "auroc")
    assert one.difference == pytest.approx(0.1)
    assert math.isnan(one.low)
    assert math.isnan(one.p)
    equal = statistics.paired_trials(_trials(np.full((6, 2), 0.9)), _trials(np.full((6, 2), 0.9)), "auroc")
    assert (equal.difference, equal.p, equal.p_wilcoxon, equal.p_sign, equal.ties) == (0, 1, 1, 1, 6)
    none = statistics.paired_trials(_trials(np.array([[math.nan]])), _trials(np.array([[0.8]])), "auroc")
    assert none.n == 0
    assert math.isnan(none.difference)
    worse = statistics.paired_trials(
        _trials(np.array([[0.3], [0.2]])), _trials(np.array([[0.5], [0.6]])), "auroc", lower_is_better=True
    )
    assert (worse.wins, worse.losses) == (2, 0)


def test_the_split_as_unit_keeps_the_error_rate_that_counting_trials_breaks() -> None:
    # null: two methods of one quality; a split favours one of them by chance, and its three seeds share that
    r = np.random.default_rng(0)
    ours = naive = 0
    for _ in range(800):
        d = r.normal(0, 1, (5, 1)) + r.normal(0, 1, (5, 3))
        ours += statistics.paired_differences(d.mean(axis=1)).p < 0.05
        naive += statistics.paired_differences(d.ravel()).p < 0.05
    assert ours / 800 < 0.075
    assert naive / 800 > 0.12


def test_sign_test_and_holm() -> None:
    assert statistics.sign_test(8, 1) == pytest.approx(2 * (1 + 9) / 2**9)
    assert statistics.sign_test(0, 0) == 1
    # worked by hand: sorted .01 .02 .03 .04 -> 4*.01, 3*.02, 2*.03, and the last may not fall below
    assert statistics.holm([0.03, 0.01, math.nan, 0.04, 0.02]) == pytest.approx(
        [0.06, 0.04, math.nan, 0.06, 0.06], nan_ok=True
    )
    assert statistics.holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert len(statistics.holm([])) == 0


def test_holm_equals_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(200) ** 3
    assert statistics.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


# ---------------------------------------------------------------- many data sets


def test_ranking_gives_demsars_worked_example() -> None:
    got = statistics.rank_blocks(DEMSAR)
    assert got.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert got.cd == pytest.approx(1.25, abs=5e-3)
    untied = 12 * 14 / (4 * 5) * ((got.ranks**2).sum() - 25)  # the paper's statistic leaves ties uncorrected
    assert untied == pytest.approx(9.28, abs=5e-3)
    assert 13 * untied / (14 * 3 - untied) == pytest.approx(3.69, abs=5e-3)
    assert got.order == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]
    assert got.cliques() == [got.order]
    ten = statistics.rank_blocks(DEMSAR, alpha=0.1)
    assert ten.cd == pytest.approx(1.12, abs=5e-3)
    assert ten.cliques() == [["C4.5+m+cf", "C4.5+m", "C4.5+cf"], ["C4.5+cf", "C4.5"]]  # figure 1(a)


def test_ranking_equals_scipy_and_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    tied = pd.DataFrame(np.random.default_rng(0).integers(0, 4, (12, 5)).astype(float))
    for table in (DEMSAR, tied):
        got = statistics.rank_blocks(table)
        expected = scipy_stats.friedmanchisquare(*table.to_numpy().T)
        assert (got.chi2, got.p) == pytest.approx((expected.statistic, expected.pvalue))
        assert got.p_nemenyi == pytest.approx(
            posthocs.posthoc_nemenyi_friedman(table.to_numpy()).to_numpy(), abs=1e-9
        )
        assert got.p_conover == pytest.approx(
            posthocs.posthoc_conover_friedman(table.to_numpy(), p_adjust="holm").to_numpy(), abs=1e-9
        )


def test_ranking_directions_missing_cells_and_degenerate_tables() -> None:
    up, down = statistics.rank_blocks(DEMSAR), statistics.rank_blocks(-DEMSAR, lower_is_better=True)
    assert up.ranks == pytest.approx(down.ranks)
    with_hole = pd.concat([DEMSAR, pd.DataFrame([[0.5, math.nan, 0.5, 0.5]], columns=DEMSAR.columns)])
    assert statistics.rank_blocks(with_hole).n == 14
    assert statistics.rank_blocks(with_hole).p == up.p
    equal = statistics.rank_blocks(pd.DataFrame(np.ones((5, 3)), columns=list("abc")))
    assert (equal.p, equal.chi2) == (1, 0)
    assert equal.cliques() == [["a", "b", "c"]]
    assert equal.cliques(equal.p_conover) == [["a", "b", "c"]]
    agreed = statistics.rank_blocks(pd.DataFrame(np.tile([3.0, 2, 1], (40, 1)), columns=list("abc")))
    assert agreed.order == ["a", "b", "c"]
    assert agreed.cliques() == []
    assert agreed.cliques(agreed.p_conover) == []
    assert agreed.p_f == 0
    one = statistics.rank_blocks(DEMSAR.head(1))
    assert math.isnan(one.p)
    assert one.ranks == pytest.approx([4, 3, 2, 1])
    empty = statistics.rank_blocks(DEMSAR.head(0))
    assert empty.n == 0
    assert np.isnan(empty.ranks).all()


def test_win_tie_loss() -> None:
    table = pd.DataFrame({"a": [3.0, 2, 1, math.nan], "b": [1.0, 2, 2, 1]})
    got = statistics.win_tie_loss(table)
    assert got.loc["a", "b"] == "1/1/1"
    assert got.loc["a", "a"] == ""
    assert statistics.win_tie_loss(table, margin=1.0).loc["a", "b"] == "1/2/0"
    assert (
        statistics.win_tie_loss(pd.DataFrame({"a": [1.0], "b": [2.0]}), lower_is_better=True).loc["b", "a"]
        == "0/0/1"
    )


def test_ten_thousand_blocks() -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(10_000, 6)) + np.arange(6) * 0.05)
    got = statistics.rank_blocks(table)
    assert got.n == 10_000
    assert got.p < 1e-6
    assert got.order == ["5", "4", "3", "2", "1", "0"]
