"""`tune:` and `search:` as a suite writes them."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from oodbench.core import registry
from oodbench.runs.runner import run
from oodbench.suite.choose import chosen
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.schema import json_schema
from oodbench.suite.scorer_plan import ScorerPlan
from tests.suite.written import FAMILY, mistakes

VAL = {"noise": {"kind": "rademacher", "size": 8, "channels": 1, "count": 40}}
TUNED = FAMILY | {"pairs": [FAMILY["pairs"][0] | {"ood_val": VAL}]}


@pytest.mark.parametrize(
    ("raw", "labels", "plain"),
    [
        ("ood-val", ("ood-val",), ["ood-val"]),
        (["none", "ood-val"], ("none", "ood-val"), ["none", "ood-val"]),
        ([{"ood-val": None}], ("ood-val",), ["ood-val"]),
        ([{"ood-val": {"space": "own"}}], ("ood-val",), ["ood-val"]),
        (
            ["none", {"ood-val": {"space": "openood"}}, "ood-val"],
            ("none", "ood-val:openood", "ood-val"),
            ["none", {"ood-val": {"space": "openood"}}, "ood-val"],
        ),
        ({"id": {"space": "openood"}}, ("id:openood",), [{"id": {"space": "openood"}}]),
    ],
)
def test_regimes_are_read_and_written(raw: Any, labels: tuple[str, ...], plain: list[Any]) -> None:
    suite = parse_suite(TUNED | {"tune": raw})
    assert suite.tune == labels
    assert yaml.safe_load(suite.dump())["tune"] == plain
    assert parse_suite(yaml.safe_load(suite.dump())).tune == labels
    jsonschema.validate(TUNED | {"tune": raw}, json_schema())


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ([], "tune: should be one or several of none, id, noise, ood-val"),
        (["test"], "tune[0]: should be one or several of none, id, noise, ood-val, got 'test'"),
        ([5], "tune[0]: should be one or several of none, id, noise, ood-val, got 5"),
        ([{"ood-val": {}, "id": {}}], "tune[0]: should be one or several of none, id, noise, ood-val, got {"),
        ([{"ood-val": "openood"}], "tune[0].ood-val: should be a mapping such as {space: openood}, got"),
        ([{"ood-val": {"spaces": "own"}}], "tune[0].ood-val: unknown key 'spaces'; did you mean 'space'?"),
        (
            [{"ood-val": {"space": "oood"}}],
            "tune[0].ood-val.space: should be one of own, openood, got 'oood'",
        ),
        ([{"none": {"space": "own"}}], "tune[0].none.space: tunes nothing, so it has no space"),
        (["id", {"id": {"space": "own"}}], "tune: the regime 'id' stands twice"),
    ],
)
def test_what_is_no_regime_is_said_with_its_place(raw: Any, says: str) -> None:
    (line,) = mistakes(TUNED | {"tune": raw})
    assert line.startswith(f"suite: {says}"), line


def _scorer(raw: Any, **more: Any) -> Any:
    return TUNED | {"scorers": [raw, "msp"], **more}


def test_a_space_of_ones_own_takes_the_place_of_the_scorers() -> None:
    raw = _scorer({"knn": {"k": 5}, "search": {"k": [10, 20]}, "as": "near"}, tune=["none", "ood-val"])
    jsonschema.validate(raw, json_schema())
    suite = parse_suite(raw)
    assert parse_suite(yaml.safe_load(suite.dump())).scorers == suite.scorers
    found = {s.label: s for s in make_plan(suite).runs[0].scorers}
    assert list(found) == ["near", "near [ood-val]", "msp"]
    # searched although it was set, and the declared value stands first
    assert [c.spec.params["k"] for c in found["near [ood-val]"].candidates] == [5, 10, 20]


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"kk": [1]}, "unknown parameter 'kk'; did you mean 'k'? allowed: k"),
        ({"k": []}, "k: should be a list of at least one value, got []"),
        ({"k": 5}, "k: should be a list of at least one value, got 5"),
        ({"k": [5, 0]}, "k: should be greater than 0, got 0"),
        ({}, "should be a mapping {parameter: [values]}, got {}"),
        ([1], "should be a mapping {parameter: [values]}, got [1]"),
        ({"k": list(range(1, 10_002))}, "k: makes more than 10000 points; give fewer values"),
    ],
)
def test_a_space_that_is_none_is_said_in_one_line(search: Any, says: str) -> None:
    (line,) = mistakes(_scorer({"knn": None, "search": search}))
    place, _, message = line.removeprefix("suite: scorers[0].search").partition(": ")
    assert f"{place.removeprefix('.')}: {message}".removeprefix(": ").startswith(says), line


def test_a_wrong_scorer_is_told_once() -> None:
    (line,) = mistakes(_scorer({"knn": {"k": 0}, "search": {"k": [1]}}))
    assert "knn.k: should be greater than 0" in line


def test_scorers_that_are_added_have_no_space_of_their_own() -> None:
    suite = chosen(parse_suite(_scorer({"knn": {"k": 5}, "search": {"k": [10]}})), scorers=["knn", "energy"])
    assert [(s.label, s.search) for s in suite.scorers] == [("knn(k=5)", {"k": (10,)}), ("energy", None)]


def _plans(tune: list[Any]) -> dict[str, ScorerPlan]:
    run = make_plan(parse_suite(_scorer("react", tune=tune))).runs[0]
    return {s.label: s for s in run.scorers}


def test_spaces_are_rows_apart_and_keys_say_what_is_chosen_between() -> None:
    openood = {"ood-val": {"space": "openood"}}
    found = _plans(["none", "ood-val", openood])
    assert list(found) == ["react", "react [ood-val]", "react [ood-val:openood]", "msp"]
    percentiles = [c.spec.params["percentile"] for c in found["react [ood-val:openood]"].candidates]
    assert percentiles == [85, 90, 95, 99]
    assert list(_plans([openood])) == ["react [ood-val:openood]", "msp"], "what is not tuned has its one row"


def test_the_key_of_a_choice_does_not_know_how_its_candidates_were_named() -> None:
    raw = _scorer({"react": {}, "search": {"percentile": [90, 85, 95, 99]}}, tune=["ood-val"])
    named = parse_suite(raw)
    run = make_plan(named).runs[0]
    before = run.choice_key(run.scorers[0])
    assert run.choice_key(run.scorers[0]._replace(tune="ood-val:openood")) == before


def test_rows_and_tables_tell_the_space(tmp_path: Any) -> None:
    registry.load_builtin()
    suite = parse_suite(_scorer("react", tune=["none", "ood-val", {"ood-val": {"space": "openood"}}]))
    done = run(suite, results=tmp_path, device="cpu", plots=False)
    assert done.failed == 0
    assert set(done.rows[done.rows.scorer == "react"].tune) == {"none", "ood-val", "ood-val:openood"}
    assert set(done.leaderboard.tune) == {"none", "ood-val", "ood-val:openood"}
    again = run(suite, results=tmp_path, device="cpu", plots=False)
    assert set(again.made.values()) == {0}
    assert "ood-val:openood" in (tmp_path / "family" / "report.html").read_text()
