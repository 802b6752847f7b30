"""OpenMax against a slow reference, its Weibull fit against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from oodbench.core.outputs import Outputs
from oodbench.scoring.scorers import openmax
from tests.scoring.outputs import fitted
from tests.scoring.scorers.made import labelled, logits


@pytest.mark.parametrize("spread", [0.01, 1.0, 40.0])
def test_weibull_fit_is_scipys(spread: float) -> None:
    tail = torch.tensor(np.sort(np.random.default_rng(1).gamma(2.0, spread, 40)) + openmax.TRANSLATION)
    shape, scale = openmax.weibull(tail)
    logs = float(scipy.stats.weibull_min.logpdf(tail.numpy(), shape, loc=0, scale=scale).sum())
    theirs = scipy.stats.weibull_min.fit(tail.numpy(), shape, floc=0, scale=scale)
    best = float(scipy.stats.weibull_min.logpdf(tail.numpy(), theirs[0], loc=0, scale=theirs[2]).sum())
    assert logs >= best - 1e-6 * abs(best)
    for other in (0.97, 1.03):  # a maximum
        assert logs > float(
            scipy.stats.weibull_min.logpdf(tail.numpy(), other * shape, loc=0, scale=scale).sum()
        )


def openmax_reference(train: Outputs, z: np.ndarray, alpha: int, tail: int) -> np.ndarray:
    """P(unknown), class by class and sample by sample, with SciPy's own fit."""
    zt, y = train.logits.double().numpy(), train.labels.numpy()
    centres, fits = [], []
    for c in range(zt.shape[1]):
        own = zt[(y == c) & (zt.argmax(axis=1) == c)]
        centres.append(own.mean(axis=0))
        far = np.sort(np.linalg.norm(own - centres[c], axis=1))[-tail:]
        start = openmax.weibull(torch.tensor(far - far[0] + openmax.TRANSLATION))
        fit = scipy.stats.weibull_min.fit(
            far - far[0] + openmax.TRANSLATION, start[0], floc=0, scale=start[1]
        )
        fits.append((fit, far[0]))
    unknown = []
    for row in z:
        revised, removed = row.copy(), 0.0
        for rank, c in enumerate(np.argsort(-row)[:alpha], start=1):
            fit, smallest = fits[c]
            w = scipy.stats.weibull_min.cdf(
                np.linalg.norm(row - centres[c]) - smallest + openmax.TRANSLATION, *fit
            )
            revised[c] = row[c] * (1 - (alpha + 1 - rank) / alpha * w)
            removed += row[c] - revised[c]
        unknown.append(np.exp(removed) / (np.exp(removed) + np.exp(revised).sum()))
    return np.array(unknown)


def test_openmax() -> None:
    train, z = labelled(800), logits(80, scale=5.0, seed=5)
    found = torch.sigmoid(fitted({"openmax": {"alpha": 3, "tail": 15}}, train).score(Outputs(z))).numpy()
    np.testing.assert_allclose(
        found, openmax_reference(train, z.double().numpy(), 3, 15), rtol=2e-3, atol=1e-6
    )


def test_openmax_falls_back_class_by_class() -> None:
    train = labelled(400)
    wrong = train.labels.clone()
    wrong[train.logits.argmax(dim=1) == wrong] = 0  # only class 0 has correct samples now
    z = logits(50, seed=6)
    assert bool(
        torch.isfinite(fitted("openmax", Outputs(train.logits, labels=wrong)).score(Outputs(z))).all()
    )
    absent = train[train.labels != 4]
    score = fitted("openmax", absent).score(Outputs(z))
    sure = z[z.argmax(dim=1) == 4]
    assert float(fitted("openmax", absent).score(Outputs(sure)).mean()) > float(score.mean())
    with pytest.raises(ValueError, match="no training sample has a known class"):
        fitted("openmax", Outputs(train.logits))
