"""What statistics are handed, checked: vectors, tables with their columns, shares. ValueError, one line, says
what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.core.errors import BadValue, one_line, shown
from oodbench.evaluation.metrics.arrays import Array, real_array

if TYPE_CHECKING:
    import pandas as pd


def vector(values: Any, name: str) -> Array:
    """Real numbers (n,) as float64, NaN among them."""
    found = real_array(values, name).astype(np.float64, copy=False)
    if found.ndim != 1:
        raise BadValue(f"{name}: should have the shape (n,), got {found.shape}")
    return found


def share(value: Any, name: str) -> float:
    """A number between 0 and 1, ends excluded."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < 1:
        raise BadValue(f"{name}: should be a number between 0 and 1, got {shown(value)}")
    return float(value)


def with_columns(frame: Any, columns: Sequence[str], name: str) -> pd.DataFrame:
    """A frame that has these columns."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise BadValue(f"{name}: should be a DataFrame, got {type(frame).__name__}")
    missing = [column for column in columns if column not in frame]
    if missing:
        there = ", ".join(map(str, frame.columns)) or "none"
        raise BadValue(one_line(f"{name}: the column {missing[0]!r} is missing; there: {there}"))
    return frame


def numbers(frame: Any, name: str) -> Array:
    """Every value of a frame as float64."""
    try:
        return with_columns(frame, (), name).to_numpy(dtype=float)
    except (ValueError, TypeError) as error:
        if isinstance(error, BadValue):
            raise
        raise BadValue(f"{name}: should hold numbers alone ({one_line(error, 120)})") from None
