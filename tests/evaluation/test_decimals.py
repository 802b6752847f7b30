"""Rounding of many numbers at once, against Python's own formatting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oodbench.evaluation.decimals import rounded, texts

TINY, HUGE = 5e-324, 1.7976931348623157e308


def hostile() -> np.ndarray:
    """Values around every place where a shortcut could go wrong."""
    rng = np.random.default_rng(0)
    found = [
        0.0,
        math.nan,
        math.inf,
        TINY,
        2.2250738585072014e-308,
        HUGE,
        0.1 + 0.2,
        1 / 3,
        2 / 3,
        1e22,
        1e23,
    ]
    for e in range(-320, 309):
        power = float(f"1e{e}")
        found += [power, math.nextafter(power, 0), math.nextafter(power, math.inf), 9.9999999995 * power]
        found += [9.99999999949 * power, 1.00000000005 * power, 1.5 * power, 1.2345678905 * power]
    for e in range(-15, 26):  # ties at the tenth digit and their neighbours
        for mantissa in rng.integers(10**9, 10**10, 60):
            tie = float(f"{mantissa}5e{e - 10}")
            found += [tie, math.nextafter(tie, 0), math.nextafter(tie, math.inf)]
    for n in rng.integers(1, 10**6, 400):  # ratios, as metrics are
        found += [int(n) / 10**6, int(n) / 999_983]
    found += [k + 0.5 for k in range(1000)] + [(2 * k + 1) / 2**j for k in range(50) for j in range(1, 40)]
    found += [float(k) for k in (1, 10, 1234567890, 9999999999, 12345678905, 12345678915, 2**53, 2**63)]
    found += list(rng.random(20_000)) + list(10 ** rng.uniform(-20, 30, 20_000))
    values = np.array(found)
    return np.concatenate([values, -values])


@pytest.mark.parametrize("digits", [1, 6, 10])
def test_each_number_is_what_its_text_says(digits: int) -> None:
    values = hostile()
    wanted = np.array([float(f"%.{digits}g" % v) for v in values.tolist()])
    found = rounded(values, digits)
    wrong = ~((found == wanted) | (np.isnan(found) & np.isnan(wanted)))
    assert not wrong.any(), (values[wrong][:5], found[wrong][:5])
    assert (np.signbit(found) == np.signbit(wanted))[~np.isnan(wanted)].all(), "-0 keeps its sign"


@pytest.mark.parametrize("digits", [1, 6, 10])
def test_each_text_is_pythons(digits: int) -> None:
    pytest.importorskip("pyarrow")
    values = hostile()
    wanted = [None if math.isnan(v) else f"%.{digits}g" % v for v in values.tolist()]
    found = texts(values, digits).to_pylist()
    assert [(v, a, b) for v, a, b in zip(values, found, wanted, strict=True) if a != b] == []


def test_integers_and_narrow_floats_are_taken() -> None:
    assert rounded(np.arange(3)).tolist() == [0, 1, 2]
    assert rounded(np.array([0.1], "f4")).tolist() == [0.1000000015]
    assert rounded([]).shape == (0,)


def test_rounding_twice_changes_nothing() -> None:
    once = rounded(hostile())
    np.testing.assert_array_equal(rounded(once), once)
