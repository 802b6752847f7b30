"""Non-negative features through a linear head, to shape."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from oodbench import build
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer


def world(n: int = 60, width: int = 12, classes: int = 4, seed: int = 0, head: Head | None = None) -> Outputs:
    """ReLU-like features, half of them zero, and the logits of one linear head."""
    rng = torch.Generator().manual_seed(seed)
    features = (torch.randn(n, width, generator=rng) + 0.3).clamp(min=0)
    if head is None:
        rng = torch.Generator().manual_seed(99)
        head = Head(torch.randn(classes, width, generator=rng), torch.randn(classes, generator=rng))
    labels = torch.arange(n) % len(head.bias)
    return Outputs(head(features), features, labels, head)


TRAIN, VAL, TEST = world(200), world(50, seed=1), world(30, seed=2)


def fitted(spec: object, train: Outputs = TRAIN, val: Outputs = VAL) -> Scorer:
    scorer: Scorer = build("scorer", spec)
    scorer.fit(train, val)
    return scorer


def close(found: Tensor, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=tolerance, atol=tolerance)
