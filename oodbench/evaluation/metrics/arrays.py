"""Scores, flags, logits and labels of whoever calls, as checked arrays and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodbench.core.errors import BadValue, one_line, shown
from oodbench.core.outputs import are_probabilities, class_numbers

Array = NDArray[Any]


ArrayLike = Tensor | Array | list[float]


def real_array(values: Any, name: str) -> Array:
    """Real numbers of any shape as an array; ValueError for anything else."""
    try:
        if isinstance(values, Tensor):
            values = values.detach().cpu()
            narrow = values.is_floating_point() and values.dtype not in (torch.float32, torch.float64)
            found = (values.float() if narrow else values).numpy()  # NumPy has no bfloat16
        else:
            found = np.asarray(values)
    except Exception as error:  # rows of different lengths, sparse tensors, an object of the user's
        raise BadValue(f"{name}: should be an array of numbers ({one_line(error, 120)})") from None
    if found.dtype.kind not in "fiub":
        raise BadValue(f"{name}: should be numbers (real ones), got {found.dtype}")
    return found


def scores_array(scores: ArrayLike, name: str = "scores") -> Array:
    """Check scores.

    Args:
        scores: (N,), N >= 1, every value finite; a tensor of any real type, an array or a list.
        name: what errors call them.

    Returns:
        They as float64, (N,).

    Raises:
        ValueError: it says what is wrong with which.
    """
    values = real_array(scores, name)
    if values.ndim != 1:
        raise BadValue(f"{name}: should have the shape (N,), got {tuple(values.shape)}")
    if len(values) == 0:
        raise BadValue(f"{name}: there are no samples")
    values = values.astype(np.float64, copy=False)
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise BadValue(f"{name}: {bad} of {len(values)} are not finite")
    return values


def correct_array(correct: ArrayLike, n: int, name: str) -> Array:
    """Which ID samples are classified correctly, (n,), as booleans; ValueError where the shape is another or
    a value is neither true (1) nor false (0)."""
    values = real_array(correct, name)
    if values.shape != (n,):
        raise BadValue(f"{name}: should have the shape ({n},) of the ID scores, got {tuple(values.shape)}")
    right = values == 1
    if not np.all(right | (values == 0)):
        raise BadValue(f"{name}: should be true or false (1 or 0) for each sample")
    return right


def logits_tensor(logits: Any) -> Tensor:
    """Logits (N, C), finite, C >= 2, as a tensor where they lie; ValueError for anything else, probabilities
    too."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        values = real_array(logits, "logits")
        if values.dtype == bool:
            raise BadValue("logits: should be numbers, got bool")
        logits = torch.from_numpy(np.array(values, np.float64))
    logits = logits.detach()
    if logits.ndim != 2 or len(logits) == 0 or logits.shape[1] < 2:
        raise BadValue(f"logits: should have the shape (N, C), C >= 2, got {tuple(logits.shape)}")
    if not bool(torch.isfinite(logits).all()):
        raise BadValue("logits: some are not finite")
    if are_probabilities(logits):
        raise BadValue("logits: they are probabilities; give log p or logits")
    return logits


def labels_tensor(labels: Any, logits: Tensor) -> Tensor:
    """Labels (N,) of any integer type, one for each row of the logits and in 0..C-1, as int64; ValueError
    for anything else."""
    if not isinstance(labels, Tensor):
        values = real_array(labels, "labels")
        labels = torch.from_numpy(values.astype(np.int64) if values.dtype.kind in "iu" else values.copy())
    if labels.shape != logits.shape[:1]:
        raise BadValue(
            f"labels: should have the shape ({len(logits)},) of the logits, got {tuple(labels.shape)}"
        )
    labels = class_numbers(labels)
    low, high = (int(x) for x in labels.aminmax())
    if low < 0 or high >= logits.shape[1]:
        raise BadValue(f"labels: should lie in 0..{logits.shape[1] - 1}, got {low}..{high}")
    return labels


MOST = 1 << 30


def whole(number: Any, name: str) -> int:
    """A count from 1 to MOST; ValueError for anything else."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 1 <= number <= MOST:
        raise BadValue(f"{name}: should be a whole number from 1 to {MOST}, got {shown(number)}")
    return int(number)
