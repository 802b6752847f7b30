"""What plans of one suite share, and what they note."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.errors import MissingData, NotApplicable, SpecError, UserError
from oodbench.core.scorer import Scorer
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.planning import Notes
from oodbench.training.initialise import fresh_weights
from tests.suite.written import FAMILY, runs_of


def test_what_cannot_run_is_a_problem_or_left_out() -> None:
    def noted(error: Exception, **suite: Any) -> Notes:
        notes = Notes(parse_suite(FAMILY | suite), skip_missing=False)
        with notes.of("it"):
            raise error
        return notes

    assert noted(UserError("wrong")).problems == ["wrong"]
    assert noted(ZeroDivisionError("by 0")).problems[0].startswith("it: ZeroDivisionError: by 0")
    assert noted(SpecError([("a.b", "wrong"), ("c", "too")])).problems == ["it: a.b: wrong", "it: c: too"]
    assert noted(NotApplicable("no head")).problems == ["no head"]
    assert noted(NotApplicable("no head"), inapplicable="skip").skipped == ["no head"]
    gone = noted(MissingData("gone"))
    with pytest.raises(UserError, match=r"^family: it: gone$"):
        gone.left_out([])
    skipping = Notes(gone.suite, skip_missing=True)
    skipping.absent = gone.absent
    with pytest.raises(UserError, match="nothing is left to run: it: gone"):
        skipping.left_out([])


def test_one_runs_scorers_are_its_own() -> None:
    """They share plans, not the list: whoever changes one run's leaves the others' as they are."""
    first, second, third = runs_of(scorers=["msp", "knn"], seeds=[0, 1, 2])
    before = list(second.scorers)
    first.scorers.append(first.scorers[0])
    first.scorers[0] = first.scorers[0]._replace(reason="changed")
    assert second.scorers == before == third.scorers
    assert second.scorers[0] is third.scorers[0], "10,000 runs hold one plan"
    other = replace(second, scorers=second.scorers[:1])
    assert len(second.scorers) == 2
    assert other.key == second.key
    assert other.expected != second.expected


def test_a_scorer_is_built_once_for_all_runs() -> None:
    made: list[int] = []

    @registry.scorer("t-counted", source="the test")
    class Counted(Scorer):
        "Counts."

        def __init__(self, *, k: int = 1) -> None:
            made.append(k)

    runs = runs_of(scorers=["t-counted"], seeds=list(range(50)), methods=["cross-entropy", "als"])
    assert len(runs) == 100
    assert made == [1]


def test_a_scorer_that_cannot_be_built_is_told_for_every_method_once() -> None:
    @registry.scorer("t-broken", source="the test")
    class Broken(Scorer):
        "Raises."

        def __init__(self) -> None:
            raise ZeroDivisionError("on purpose")

    with pytest.raises(UserError) as caught:
        runs_of(scorers=["t-broken"], seeds=[0, 1])
    (line,) = str(caught.value).splitlines()
    assert line.startswith("family: scorer 't-broken': ZeroDivisionError: on purpose (test_planning.py:")


def test_a_start_is_the_run_of_its_seed_and_an_ensembles_members_of_theirs() -> None:
    methods = [{"ensemble": {"of": "als", "members": 2}}, {"als": {}, "start": "cross-entropy"}]
    ensembles = runs_of(methods=methods, seeds=[0, 3])[:2]
    started = runs_of(methods=methods, seeds=[0, 3])[2:]
    assert [[m.seed for m in e.sources] for e in ensembles] == [[0, 1], [6, 7]]
    assert [[r.seed for r in s.lineage] for s in started] == [[0, 0], [3, 3]]


def test_many_seeds_left_out_are_told_in_a_short_line(tmp_path: Path) -> None:
    network = {"mlp": {"hidden": [8]}}
    run = runs_of(networks=[network])[0]
    assert run.sources
    source = run.sources[0]
    made = fresh_weights(source.network.spec, source.built_method, source.task, 0)
    torch.save(made.state_dict(), tmp_path / "w.pt")
    raw = FAMILY | {"methods": [{"checkpoint": {"file": str(tmp_path / "w.pt")}}]}
    plan = make_plan(parse_suite(raw | {"seeds": list(range(5_000))}))
    (line,) = plan.skipped
    assert "seeds left out: 1, 2, 3, " in line
    assert "100 and 4899 more (files of one trial" in line
    assert len(line) < 1_000
    (short,) = make_plan(parse_suite(raw | {"seeds": [0, 1, 2]})).skipped
    assert "seeds left out: 1, 2 (files" in short
