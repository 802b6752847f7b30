"""Numbers as short as the page needs them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def shortened(frame: pd.DataFrame, places: int = 7) -> list[list[float | None]]:
    """The rows of a frame as lists of numbers, shortened for the page, None where there is none."""
    values = frame.to_numpy(dtype=float, na_value=np.nan)
    found = np.round(values, places).astype(object)
    found[~np.isfinite(values)] = None
    return found.tolist()  # type: ignore[no-any-return]


def tuples(frame: pd.DataFrame, columns: Iterable[str]) -> list[tuple[Any, ...]]:
    """The rows of a frame, some columns alone, as tuples."""
    return list(zip(*(frame[c].tolist() for c in columns), strict=True))


def number(value: Any, digits: int = 5) -> float | None:
    """A finite number, shortened for the page, or None."""
    value = float(value)
    return round(value, digits) if np.isfinite(value) else None
