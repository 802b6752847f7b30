"""KL matching and Igeood against slow references."""

from __future__ import annotations

import math

import numpy as np
import scipy.stats
import torch

from oodbench.core.outputs import Outputs
from tests.scoring.outputs import fitted
from tests.scoring.scorers.made import labelled, logits
from tests.scoring.scorers.references import softmax


def test_igeood() -> None:
    train, z = labelled(), logits(30, seed=3)
    made = fitted({"igeood": {"temperature": 1.7}}, train)
    expected = []
    for row in z.double().numpy():
        p = softmax(row / 1.7)
        total = 0.0
        for c in range(6):
            q = softmax(train.logits[train.labels == c].double().numpy().mean(axis=0) / 1.7)
            total += 2 * math.acos(min(1.0, float(np.sqrt(p * q).sum())))
        expected.append(-total)
    np.testing.assert_allclose(made.score(Outputs(z)), expected, rtol=1e-9)


def test_klm_reference() -> None:
    val, z = labelled(), logits(20, seed=7)
    p_val = torch.softmax(val.logits.double(), dim=1).numpy()
    means = np.stack([p_val[p_val.argmax(axis=1) == c].mean(axis=0) for c in range(6)])
    p = torch.softmax(z.double(), dim=1).numpy()
    expected = [min(scipy.stats.entropy(row, m) for m in means) for row in p]
    np.testing.assert_allclose(fitted("klm", val=val).score(Outputs(z)), expected, rtol=1e-6)


def test_a_class_that_nobody_is_predicted_as_is_infinitely_far_away() -> None:
    """However sure of it a sample is: the distribution of that class has zeros, as SciPy takes it."""
    z_val = logits(60, seed=7)
    z_val[:, 2] = -9.0
    p_val = torch.softmax(z_val.double(), dim=1).numpy()
    means = [p_val[p_val.argmax(axis=1) == c].mean(axis=0) if c != 2 else np.eye(6)[c] for c in range(6)]
    z = logits(8, seed=8)
    z[:, 2] = 12.0
    p = torch.softmax(z.double(), dim=1).numpy()
    expected = [min(scipy.stats.entropy(row, m) for m in means) for row in p]
    assert np.isfinite(expected).all()
    found = fitted("klm", val=Outputs(z_val, labels=torch.zeros(60, dtype=torch.int64))).score(Outputs(z))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
