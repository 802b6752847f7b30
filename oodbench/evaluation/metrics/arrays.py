"""Scores and flags as checked arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


ArrayLike = Tensor | Array | list[float]


def scores_array(scores: ArrayLike, name: str = "scores") -> Array:
    """Check scores.

    Args:
        scores: (N,), N >= 1, every value finite; a tensor, an array or a list.
        name: what errors call them.

    Returns:
        They as float64, (N,).

    Raises:
        ValueError: it says what is wrong with which.
    """
    values = scores.detach().cpu().numpy() if isinstance(scores, Tensor) else np.asarray(scores)
    if values.ndim != 1:
        raise ValueError(f"{name}: should have the shape (N,), got {tuple(values.shape)}")
    if len(values) == 0:
        raise ValueError(f"{name}: there are no samples")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name}: should be numbers, got {values.dtype}")
    values = values.astype(np.float64, copy=False)
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise ValueError(f"{name}: {bad} of {len(values)} are not finite")
    return values


def correct_array(correct: ArrayLike, n: int, name: str) -> Array:
    """Which ID samples are classified correctly, (n,), as booleans; ValueError where the shape is another."""
    values = correct.detach().cpu().numpy() if isinstance(correct, Tensor) else np.asarray(correct)
    if values.shape != (n,):
        raise ValueError(f"{name}: should have the shape ({n},) of the ID scores, got {tuple(values.shape)}")
    return values.astype(bool)
