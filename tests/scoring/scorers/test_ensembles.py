"""How the members of an ensemble differ, against entropies by SciPy."""

from __future__ import annotations

import numpy as np
import scipy.stats

from oodbench.core.outputs import Outputs
from tests.scoring.outputs import fitted
from tests.scoring.scorers.made import logits
from tests.scoring.scorers.references import softmax


def test_how_members_differ() -> None:
    z = logits(40 * 3, seed=11).view(40, 3, 6)
    outputs = Outputs(z.mean(dim=1), extras={"members.logits": z})
    information, disagree = [], []
    for sample in z.double().numpy():
        p = np.array([softmax(row) for row in sample])
        information.append(
            scipy.stats.entropy(p.mean(axis=0)) - np.mean([scipy.stats.entropy(row) for row in p])
        )
        classes = p.argmax(axis=1)
        disagree.append(np.mean([classes[a] != classes[b] for a, b in ((0, 1), (0, 2), (1, 2))]))
    np.testing.assert_allclose(
        fitted("mutual-information").score(outputs), information, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(fitted("disagreement").score(outputs), disagree)
