"""WeiPer is the divergence of histograms."""

from __future__ import annotations

import numpy as np

from tests.scoring.scorers.activations import TEST, TRAIN, close, fitted


def test_weiper_is_the_divergence_of_histograms() -> None:
    scorer = fitted(
        {
            "weiper": {
                "repeats": 5,
                "bins": 10,
                "smooth": 3,
                "smooth_perturbed": 4,
                "lambda1": 0.7,
                "lambda2": 0.3,
            }
        }
    )
    weight, bias = (t.numpy() for t in scorer.head)  # type: ignore[attr-defined]
    assert TRAIN.head is not None
    noise = np.linalg.norm(weight.reshape(5, 4, -1) - TRAIN.head.weight.numpy(), axis=2)
    np.testing.assert_allclose(noise, np.tile(1.8 * TRAIN.head.weight.norm(dim=1).numpy(), (5, 1)), rtol=1e-5)

    def divergence(train: np.ndarray, test: np.ndarray, size: int, epsilon: float) -> np.ndarray:
        edges = np.linspace(train.min(), train.max() + 1e-8, 11)
        mean = np.mean([np.histogram(v, edges)[0] / v.size for v in train], axis=0)
        found = []
        for v in test:
            q = np.histogram(v, edges)[0] / v.size
            q = np.pad(q, ((size - 1) // 2, size - 1 - (size - 1) // 2), mode="edge")
            q = np.convolve(q, np.full(size, 1 / size), "valid") + epsilon
            p = (mean + epsilon) / (mean + epsilon).sum()
            q = q / q.sum()
            found.append((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum())
        return np.array(found)

    f, g = TRAIN.features.numpy(), TEST.features.numpy()
    z = g @ weight.T + bias
    p = np.exp(z).reshape(len(g), 5, 4)
    confidence = (p / p.sum(axis=2, keepdims=True)).max(axis=2).mean(axis=1)
    expected = (
        divergence(f, g, 3, 0.01) + 0.7 * divergence(f @ weight.T + bias, z, 4, 0.025) - 0.3 * confidence
    )
    close(scorer.score(TEST), expected, 1e-4)
