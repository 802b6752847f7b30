"""Functions of logits, where float32 runs out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from oodbench.scoring import functional


def test_one_minus_the_maximal_probability_does_not_saturate() -> None:
    z = torch.tensor([[0.0, 0.0, 0.0], [50.0, 0.0, -3.0], [300.0, 1.0, 2.0]], dtype=torch.float64)
    got = functional.log_one_minus_max_probability(z)
    want = [math.log(2 / 3), math.log(1 + math.exp(-3)) - 50, math.log(math.exp(1) + math.exp(2)) - 300]
    assert got.tolist() == pytest.approx(want, rel=1e-12)


def test_energy_of_two_equal_logits() -> None:
    assert float(functional.energy(torch.tensor([[1.0, 1.0]]), 2.0)) == pytest.approx(-(1 + 2 * math.log(2)))


def test_top_share_keeps_the_largest() -> None:
    x = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    kept, mask = functional.top_share(x, 50)
    assert kept[0].tolist() == [3.0, 0.0, 2.0, 0.0]
    assert mask.sum(dim=1).tolist() == [2.0, 2.0]
    assert functional.top_share(x, 100)[1].sum(dim=1).tolist() == [1.0, 1.0]


def test_a_ratio_to_nothing_is_one_and_none_overflows() -> None:
    got = functional.ratio(torch.tensor([4.0, 0.0, 1e30]), torch.tensor([2.0, 0.0, 1e-30]))
    assert got.tolist() == [2.0, 1.0, 50.0]


def test_the_log_of_the_gamma_tail() -> None:
    special = pytest.importorskip("scipy.special")
    x = torch.tensor([0.0, 0.5, 3.0, 40.0, 400.0])
    np.testing.assert_allclose(
        functional.log_upper_gamma(2.5, x).numpy(), np.log(special.gammaincc(2.5, x.numpy())), rtol=1e-9
    )
    beyond = functional.log_upper_gamma(2.5, torch.tensor([560.0, 600.0, 5000.0]))
    assert (beyond.diff() < 0).all()
    assert float(beyond[2]) == pytest.approx(-5000 + 1.5 * np.log(5000) - special.gammaln(2.5), abs=1e-3)


def test_log_odds_keep_what_is_left_where_a_probability_is_near_one() -> None:
    log_p, log_rest = functional.log_odds(torch.tensor([[50.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    assert float(log_rest[0, 0]) == pytest.approx(math.log(2) - 50, rel=1e-9)
    p = math.exp(1) / (math.exp(1) + 2)
    assert log_p[1].tolist() == pytest.approx([math.log(p), *[math.log((1 - p) / 2)] * 2], rel=1e-9)
    assert log_rest[1].tolist() == pytest.approx([math.log(1 - p), *[math.log((1 + p) / 2)] * 2], rel=1e-9)
