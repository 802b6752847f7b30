"""The rows that a run owes, and why one is skipped, as far as a plan knows."""

from __future__ import annotations

from oodbench.core import registry
from oodbench.suite.asked import Asked, asked_of
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.scorer_plan import ScorerPlan
from tests.suite.written import FAMILY, SHIFTED, runs_of

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


def test_the_clean_set_each_shifted_set_and_all_together_are_asked_for() -> None:
    (run,) = runs_of(pairs=[SHIFTED], scorers=["msp", "mls"])
    asked = list(asked_of(run))
    groups = list(dict.fromkeys((a.condition, a.id_set, a.id_names) for a in asked))
    assert groups == [
        ("clean", "id", ("test",)), ("again", "id", ("again",)), ("clean", "full", ("test", "again")),
    ]  # fmt: skip
    each = 1 + 2 * (1 + 2)  # the network alone; each scorer on ID alone and against two sets
    assert len(asked) == 3 * each
    first = asked[:each]
    assert [(a.scorer.label if a.scorer else "", a.shift) for a in first] == [
        ("", "none"), ("msp", "none"), ("msp", "near"), ("msp", "far"),
        ("mls", "none"), ("mls", "near"), ("mls", "far"),
    ]  # fmt: skip


def test_rows_of_an_attack_stand_under_the_scorer_that_it_attacks() -> None:
    (run,) = runs_of(scorers=["msp", {"msp": {}, "as": "mine"}], attacks=[{"fgsm": {"eps": 0.1}}])
    attacked = [a for a in asked_of(run) if a.attack is not None]
    named = [(a.condition, a.scorer.declared.label if a.scorer else "", bool(a.ood)) for a in attacked]
    sides = [f"fgsm(eps=0.1) on {side}" for side in ("OOD", "ID")]
    assert named == [(side, s, ood) for s in ("msp", "mine") for side in sides for ood in (False, True)]
    assert run.sets_of(attacked[0].attack) == ["digits(classes=[6,7])"]  # type: ignore[arg-type]
    assert "test" in run.sets_of(attacked[2].attack)  # type: ignore[arg-type]


def test_a_set_that_is_not_here_is_asked_for_with_its_reason() -> None:
    pair = SHIFTED | {"far": {"gone": {"cifar10": {}}}}
    plan = make_plan(parse_suite(FAMILY | {"pairs": [pair]}), skip_missing=True)
    missing = [a for a in asked_of(plan.runs[0]) if a.missing]
    assert {(a.ood, a.shift) for a in missing} == {("gone", "far")}
    assert all("\n" not in a.reason and a.reason for a in missing)
    assert {a.condition for a in missing} == {"clean", "again"}
