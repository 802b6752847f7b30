"""DeLong's test and the bootstrap against published values, their definition, brute force and simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn import metrics as sk

from oodbench.evaluation import metrics, statistics
from tests.evaluation.statistics.published import ASAH


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


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "m"), [(60, 45), (40, 40)])  # of 40, exactly 38 are 95 %
def test_bootstrap_replicates_equal_metrics_of_the_resampled_scores(n: int, m: int, ties: bool) -> None:
    r = np.random.default_rng(0)
    pairs = [(r.normal(size=n), r.normal(1, 1, m)) for _ in range(2)]
    if ties:
        pairs = [(i.round(), o.round()) for i, o in pairs]
    names = ("auroc", "fpr95_in", "fpr95_out")
    got = statistics.bootstrap(pairs, metrics=names, n=25, seed=3)
    rng = np.random.default_rng(3)  # the same draws again, then the plain metrics of what was drawn
    weight_in, weight_out = (
        statistics.resampling_weights(rng, 25, n),
        statistics.resampling_weights(rng, 25, m),
    )
    assert (weight_in.sum(1) == n).all()
    assert (weight_out.sum(1) == m).all()
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
