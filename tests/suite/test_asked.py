"""Why a row is skipped, as far as a plan knows."""

from __future__ import annotations

from oodbench.core import registry
from oodbench.suite.asked import Asked
from oodbench.suite.scorer_plan import ScorerPlan

SPEC = registry.resolve("scorer", "msp")


def plan(reason: str = "") -> ScorerPlan:
    return ScorerPlan(SPEC, frozenset(), None, reason, SPEC)


def test_a_row_is_skipped_for_the_attack_the_scorer_or_the_set() -> None:
    row = Asked("clean", "id", ("test",), plan(), ood="far")
    assert row.reason == ""
    assert row._replace(missing="not here").reason == "not here"
    assert row._replace(scorer=plan("no head"), missing="not here").reason == "no head"
    attacked = row._replace(attack=plan("no gradient"), scorer=plan("no head"))
    assert attacked.reason == "no gradient"
    assert Asked("clean", "id", ("test",), None).reason == ""
