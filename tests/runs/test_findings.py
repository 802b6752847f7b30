"""What verification found, in words."""

from __future__ import annotations

import math

import pytest

from oodbench.runs.findings import (
    CONTRADICTED,
    HOLDS,
    UNCHECKED,
    Finding,
    name_of,
    number,
    text,
    to_lines,
    told,
)


def test_the_first_mistake_is_told_and_the_others_are_counted() -> None:
    assert told("rows", [], "all fine") == Finding(HOLDS, "rows", "all fine")
    assert told("rows", ["a"], "all fine") == Finding(CONTRADICTED, "rows", "a")
    assert told("rows", ["a", "b", "c"], "all fine").why == "a (and 2 more)"


def test_one_line_each() -> None:
    lines = to_lines([Finding(HOLDS, "keys", "two"), Finding(UNCHECKED, "metrics", "no store")])
    assert lines == ["holds: keys: two", "cannot be checked here: metrics: no store"]


def test_a_row_is_named_by_what_it_is_of() -> None:
    row = {"pair": "p", "network": "", "method": "ce", "scorer": "msp", "ood": "six", "condition": "clean"}
    assert name_of(row) == "p / ce / msp / six"
    assert name_of(row | {"split": 0, "seed": 1}) == "p / ce / msp / six / split 0 / seed 1"
    assert (
        name_of(row | {"condition": "fgsm on ID", "seed": "2"}) == "p / ce / msp / six / fgsm on ID / seed 2"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "empty"), (math.nan, "empty"), (1 / 3, "0.3333333333"), (2, "2"), ("msp", "msp")],
)
def test_values_are_shown_as_results_hold_them(value: object, shown: str) -> None:
    assert text(value) == shown


def test_an_empty_cell_is_no_number() -> None:
    assert number("0.5") == number(0.5) == 0.5
    assert all(math.isnan(number(v)) for v in (None, "", math.nan))
