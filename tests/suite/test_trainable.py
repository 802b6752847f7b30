"""What a method can be trained or loaded on, and what it starts from."""

from __future__ import annotations

import pytest

from oodbench.core import registry
from oodbench.core.errors import NotApplicable, UserError
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.run import TrainedRun
from oodbench.suite.trainable import check_data, check_trials, parts_of, start_of, trials_with_files
from tests.suite.written import FAMILY


def test_several_trials_are_not_one_counted_twice() -> None:
    (method,) = parse_suite(FAMILY).methods
    check_trials(method, {0: "a", 1: "b"})
    with pytest.raises(UserError, match="the files of seeds 1 and 7 hold the same"):
        check_trials(method, {0: "a", 1: "b", 7: "b"})


def test_what_a_method_trains_on_must_be_there() -> None:
    (run,) = make_plan(parse_suite(FAMILY)).runs
    assert isinstance(run, TrainedRun)
    (outliers,) = parse_suite(FAMILY | {"methods": ["outlier-exposure"]}).methods
    with pytest.raises(NotApplicable, match="needs outliers, but pair 'two' names none"):
        check_data(outliers, registry.build("method", outliers.spec), run.data)
    (plain,) = parse_suite(FAMILY).methods
    run.data.sets.pop("train")
    with pytest.raises(NotApplicable, match="has no training split"):
        check_data(plain, registry.build("method", plain.spec), run.data)


def test_a_start_has_the_recipe_of_the_suites_own_method() -> None:
    slow = {"cross-entropy": {}, "recipe": {"epochs": 7}}
    suite = parse_suite(FAMILY | {"methods": [slow, {"als": {}, "start": "cross-entropy"}]})
    als = suite.methods[1]
    ((start, built),) = parts_of(suite, als, registry.build("method", als.spec))
    assert (start.recipe, built.provides) == ({"epochs": 7}, "loss")
    other = parse_suite(FAMILY | {"methods": [{"als": {}, "start": "cross-entropy"}]})
    assert other.methods[0].start is not None
    assert start_of(other, other.methods[0].start).recipe == {}


def test_files_of_a_method_and_of_its_start_are_read_for_each_seed_that_they_name() -> None:
    start = {"cross-entropy": {}, "start": {"checkpoint": {"file": "a/s{seed}.pt"}}}
    one = {"checkpoint": {"file": "b.pt"}}
    suite = parse_suite(FAMILY | {"methods": [start, one, "pretrained"], "seeds": [0, 4]})
    found = [[(m.spec.name, seed) for m, seed in trials_with_files(suite, m)] for m in suite.methods]
    assert found == [[("checkpoint", 0), ("checkpoint", 4)], [("checkpoint", 0)], []]


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ({"ensemble": {"of": "pretrained", "members": 2}}, "its members should be trained"),
        ({"pretrained": {}, "start": "cross-entropy"}, "trains nothing; leave out `start:`"),
        (
            {"cross-entropy": {}, "start": {"outputs": {"folder": "x"}}},
            "start: should be a method that gives the weights of one network",
        ),
    ],
)
def test_what_has_no_weights_gives_none(method: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make_plan(parse_suite(FAMILY | {"methods": [method]}))
