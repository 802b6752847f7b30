"""Whom a failure costs what."""

from __future__ import annotations

import pytest

from oodbench.runs.failures import Failures


@pytest.mark.parametrize(
    ("noted", "lost"),
    [
        ({"on": "far"}, {("", "far"), ("msp", "far"), ("knn", "far")}),
        ({"scorer": "msp"}, {("msp", "test"), ("msp", "far")}),
        ({"scorer": "msp", "on": "far"}, {("msp", "far")}),
        ({}, {(s, n) for s in ("", "msp", "knn") for n in ("test", "far")}),
    ],
)
def test_a_failure_costs_what_reads_it_and_nothing_else(
    noted: dict[str, str], lost: set[tuple[str, str]]
) -> None:
    failures = Failures()
    assert failures.add("broken", **noted)
    found = {(s, n) for s in ("", "msp", "knn") for n in ("test", "far") if failures.why(s, [n])}
    assert found == lost


def test_the_first_reason_stays_and_the_same_one_is_told_once() -> None:
    failures = Failures()
    assert failures.add("first", scorer="msp", on="a")
    assert failures.add("second", scorer="msp", on="a")
    assert not failures.add("first", scorer="msp", on="b")
    assert failures.why("msp", ["a", "b"]) == "first"
    assert failures.why("msp", []) == ""
