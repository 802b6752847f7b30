"""Scores of perturbed inputs against OpenOOD's steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oodbench import build
from oodbench.core.outputs import Outputs


@pytest.mark.parametrize("variant", ["a", "l"])
def test_adascale_follows_openood(variant: str) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(3, 40), torch.randn(3)

    def outputs(n: int) -> Outputs:
        features = torch.randn(n, 40)
        from oodbench.core.network import Head

        head = Head(weight, bias)
        return Outputs(
            head(features),
            features,
            head=head,
            extras={"weak-pixels.features": features + 0.1 * torch.randn(n, 40)},
        )

    val, test = outputs(25), outputs(9)
    scorer = build("scorer", {"adascale": {"variant": variant, "low": 60.0, "high": 80.0}})
    scorer.fit(None, val)

    def shift(f: np.ndarray, moved: np.ndarray) -> float:
        order = np.argsort(-f)
        return float(np.maximum(moved, 0)[order[:2]].sum() + 10 * np.abs(f - moved)[order[:1]].sum())

    known = [
        shift(*pair)
        for pair in zip(val.features.numpy(), val.extras["weak-pixels.features"].numpy(), strict=True)
    ]
    expected = []
    for f, moved, z in zip(
        test.features.numpy(), test.extras["weak-pixels.features"].numpy(), test.logits.numpy(), strict=True
    ):
        percentile = 60 + (1 - np.mean(np.array(known) <= shift(f, moved))) * 20
        positive = np.sort(np.maximum(f, 0))[::-1]
        r = positive.sum() / positive[: 40 - int(np.round(40 * percentile / 100))].sum()
        edited = z * r**2 if variant == "l" else weight.numpy() @ (f * np.exp(r)) + bias.numpy()
        expected.append(-edited.max() - np.log(np.exp(edited - edited.max()).sum()))
    np.testing.assert_allclose(scorer.score(test).numpy(), expected, rtol=1e-4)
    assert scorer.score(test[:1]).shape == (1,)
