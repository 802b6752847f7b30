"""Numbers to so many significant digits, many at once: exactly those that ``"%.10g" % value`` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_LOW, _HIGH = -13, 10
"""Decades in which scaling to ten digits is one rounding: 10**22 is the last power that a float64 holds
exactly."""
_POWERS = np.array([float(f"1e{e}") for e in range(_LOW, _HIGH + 1)])
_EXACT = np.array([float(10**e) for e in range(23)])
_DECADE = np.floor((np.arange(2048) - 1023) * np.log10(2)).clip(_LOW, _HIGH - 1).astype("i8")
"""The decade of 2**(e - 1023), the smallest float64 with the exponent bits e."""
_AT_ONCE = 1 << 14
"""So many numbers and what is made of them stay in a processor's cache."""


def rounded(values: Any, digits: int = 10) -> np.ndarray:
    """Each number as it is read back from ``"%.{digits}g"``; NaN and infinities stay.

    Args:
        values: numbers (N,).
        digits: from 1 to 10.

    Returns:
        float64 (N,).

    Example:
        >>> rounded([0.1 + 0.2, 1 / 3])
        array([0.3         , 0.3333333333])
    """
    given = np.asarray(values, dtype="f8")
    found = np.empty_like(given)
    for start in range(0, len(given), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        found[part] = _rounded(given[part], digits)
    return found


def _rounded(given: np.ndarray, digits: int) -> np.ndarray:
    """A number is scaled to an integer of so many digits by one multiplication with an exact power of ten,
    and back by one division. Where the scaled number is too near a tie to tell its side, or the power is not
    exact, the number goes through the text itself."""
    size = np.abs(given)
    usual = (size >= _POWERS[0]) & (size < _POWERS[-1])
    size[~usual] = 1.0
    decade = _DECADE[size.view("i8") >> 52]
    above = np.minimum(decade + 1, _HIGH)
    decade += size >= _POWERS[above - _LOW]
    shift = (digits - 1) - decade
    scale = _EXACT[np.maximum(shift, 0)]
    scaled = size * scale
    whole = np.rint(scaled)
    # of a number below 10**10 the scaled one is off by less than 2e-6
    text = (np.abs(scaled - whole) > 0.5 - 1e-5) | (shift < 0)
    found = np.copysign(whole / scale, given)
    if not usual.all():
        as_it_is = (given == 0) | ~np.isfinite(given)
        found[as_it_is] = given[as_it_is]
        text |= ~usual & ~as_it_is
    places = np.flatnonzero(text)
    found[places] = [float(f"%.{digits}g" % v) for v in given[places].tolist()]
    return found


def texts(values: Any, digits: int = 10) -> pa.Array:
    """What ``"%.{digits}g"`` makes of each number, null of NaN; needs pyarrow.

    The shortest text of a number that has no more than ten digits is those digits. What may differ is only
    how small and large numbers are written, which is left to Python.

    Args:
        values: numbers (N,).
        digits: from 1 to 10.

    Returns:
        Strings (N,).
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    given = np.asarray(values, dtype="f8")
    short = rounded(given, digits)
    found = pc.cast(pa.array(short, from_pandas=True), pa.string())
    size = np.abs(short)
    other = ((size < 1e-4) & (size > 0)) | (size >= 10.0**digits)
    if other.any():
        said = [f"%.{digits}g" % v for v in given[other].tolist()]
        found = pc.replace_with_mask(found, pa.array(other), pa.array(said, pa.string()))
    return found
