"""Means, moments and whitening of classes against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oodbench.core.outputs import Outputs
from oodbench.scoring import functional


def test_class_means_against_numpy() -> None:
    """Over more than one block."""
    n = functional.BLOCK + 100
    f = torch.randn(n, 5, generator=torch.Generator().manual_seed(0))
    y = torch.randint(-1, 3, (n,), generator=torch.Generator().manual_seed(0))
    means, counts = functional.class_means(f, y, 4)
    for c in range(3):
        np.testing.assert_allclose(means[c], f[y == c].double().mean(0), rtol=1e-12)
    assert counts.tolist() == [int((y == c).sum()) for c in range(3)] + [0]
    assert means[3].tolist() == [0.0] * 5


@pytest.mark.parametrize("classes", [3, 100])
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_moments_against_numpy(classes: int, unknown: bool, dtype: torch.dtype) -> None:
    """Across blocks of a block, far from the origin, where a sum of squares would cancel."""
    n = functional.BLOCK + 5000
    f = (40 + torch.randn(n, 7, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 8)).to(dtype)
    y = torch.randint(
        -1 if unknown else 0, classes - 1, (n,), generator=torch.Generator().manual_seed(0)
    )  # the last class has no sample
    m = functional.moments(Outputs(torch.zeros(n, classes), f, y))
    x, labels = f.double().numpy(), y.numpy()
    np.testing.assert_allclose(m.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(m.total, np.cov(x.T, bias=True), rtol=1e-9, atol=1e-9)
    assert m.counts.tolist() == [int((labels == c).sum()) for c in range(classes)]
    means = np.stack([x[labels == c].mean(axis=0) for c in range(classes - 1)])
    np.testing.assert_allclose(m.means[:-1], means, rtol=1e-12)
    assert m.means[-1].tolist() == [0.0] * 7
    centred = (x - means[labels])[labels >= 0]
    np.testing.assert_allclose(m.within, centred.T @ centred / len(centred), rtol=1e-9, atol=1e-9)


def test_whitening_inverts_on_the_range_of_a_singular_covariance() -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) @ torch.randn(
        3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    covariance = x.T @ x / 50
    w = functional.whitening(covariance)
    assert w.shape == (6, 3)
    np.testing.assert_allclose(w @ w.T, np.linalg.pinv(covariance.numpy()), rtol=1e-6, atol=1e-9)
