"""What slow references of scorers share: arrays, softmax, distances, sample by sample in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from oodbench.core.outputs import Outputs
from tests.scoring.outputs import fitted, world


class Arrays:
    """The same as float64 NumPy arrays."""

    def __init__(self, train: Outputs, test: Outputs) -> None:
        assert train.head is not None
        self.f, self.z, self.y = (
            train.features.double().numpy(),
            train.logits.double().numpy(),
            train.labels.numpy(),
        )
        self.x, self.t = test.features.double().numpy(), test.logits.double().numpy()
        self.w, self.b = train.head.weight.double().numpy(), train.head.bias.double().numpy()
        self.classes = range(self.z.shape[1])

    @property
    def unit(self) -> tuple[np.ndarray, np.ndarray]:
        return tuple(
            a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12) for a in (self.f, self.x)
        )  # type: ignore[return-value]


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def mahalanobis(f: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    means = np.stack([f[y == c].mean(axis=0) for c in np.unique(y)])
    covariance = sum((r - means[c])[:, None] * (r - means[c])[None] for r, c in zip(f, y, strict=True)) / len(
        f
    )
    precision = np.linalg.pinv(covariance, hermitian=True)
    return np.array([min((r - m) @ precision @ (r - m) for m in means) for r in x])


def follows(spec: object, reference: Callable[[Arrays], np.ndarray]) -> None:
    """The scorer's scores are those of the reference."""
    train, val, test = world()
    score = fitted(spec, train, val).score(test).double().numpy()
    expected = reference(Arrays(train, test))
    np.testing.assert_allclose(score, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())
