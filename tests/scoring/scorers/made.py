"""Logits, with labels of a known temperature."""

from __future__ import annotations

import torch
from torch import Tensor

from oodbench.core.outputs import Outputs


def logits(count: int = 60, classes: int = 6, scale: float = 3.0, seed: int = 0) -> Tensor:
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


def labelled(count: int = 200, classes: int = 6, seed: int = 1) -> Outputs:
    """Logits whose label is drawn from the softmax at temperature 2: the NLL has its optimum near there."""
    z = logits(count, classes, seed=seed)
    labels = torch.multinomial(
        torch.softmax(z / 2, dim=1), 1, generator=torch.Generator().manual_seed(seed)
    ).squeeze(1)
    return Outputs(z, labels=labels)
