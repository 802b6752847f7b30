"""Fisher's combination of scores, against SciPy and uniform p-values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oodbench import build
from oodbench.core.errors import UserError
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.core.spec import spec_of


def fused(tail: str = "empirical", n: int = 200) -> tuple[Scorer, Outputs, Outputs]:
    torch.manual_seed(1)
    logits = torch.randn(n, 4) * 3
    val, test = Outputs(logits), Outputs(torch.randn(50, 4) * torch.linspace(0.01, 4, 50).unsqueeze(1))
    scorer = build("scorer", {"fisher": {"of": ["energy", "entropy"], "tail": tail}})
    scorer.fit(None, val)
    return scorer, val, test


def test_fisher_with_brown_is_what_scipy_says() -> None:
    stats = pytest.importorskip("scipy.stats")
    scorer, val, test = fused()
    parts = [build("scorer", name) for name in ("energy", "entropy")]

    def statistic(o: Outputs) -> np.ndarray:
        total = 0.0
        for part in parts:
            known, s = np.sort(part.score(val).double().numpy()), part.score(o).double().numpy()
            x = np.concatenate([known, [np.nextafter(known[-1], np.inf)]])
            y = np.concatenate([(len(known) + 1 - np.arange(len(known))), [1]]) / (len(known) + 1)
            total = total - 2 * np.log(np.interp(s, x, y))
        return np.asarray(total)

    t = statistic(val)
    c, k = t.var() / (2 * t.mean()), 2 * t.mean() ** 2 / t.var()
    np.testing.assert_allclose(
        scorer.score(test).numpy(), -stats.chi2.logsf(statistic(test) / c, k), rtol=1e-6, atol=1e-9
    )


def test_fisher_p_values_are_uniform_on_validation() -> None:
    scorer, val, _ = fused(n=4000)
    p = (-scorer.score(val)).exp()
    for level in (0.05, 0.25, 0.5, 0.75):
        assert abs(float((p <= level).double().mean()) - level) < 0.04


def test_an_exponential_tail_does_not_tie() -> None:
    far = Outputs(torch.zeros(20, 4) - torch.arange(20.0).unsqueeze(1))  # energies far above any known one
    flat, falling = fused("empirical")[0].score(far), fused("exponential")[0].score(far)
    assert len(flat[10:].unique()) == 1
    assert (falling.diff() > 0).all()
    assert falling.isfinite().all()


def test_fisher_needs_what_its_scorers_need() -> None:
    scorer = build("scorer", {"fisher": {"of": ["mds", {"knn": {"k": 3}}, "odin"]}})
    assert scorer.needs == {"train", "val", "features"}
    assert spec_of(scorer.view()).name == "perturbation"
    with pytest.raises(UserError, match="read different views"):
        build("scorer", {"fisher": {"of": ["odin", "gram"]}})
    with pytest.raises(UserError, match="at least 2"):
        build("scorer", {"fisher": {"of": ["msp"]}})
    constant = build("scorer", {"fisher": {"of": ["msp", "mls"]}})
    with pytest.raises(ValueError, match="do not vary"):
        constant.fit(None, Outputs(torch.zeros(9, 3)))
