"""What a suite asks for before anything is paid for: keys of artefacts, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oodbench.core import registry
from oodbench.core.dataset import Dataset
from oodbench.core.errors import MissingData, UserError
from oodbench.suite.load import load_suite
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import artefacts, make_plan
from tests.suite.written import FAMILY

BASE: dict[str, Any] = {
    "name": "k", "networks": ["mlp"], "methods": ["cross-entropy"], "scorers": ["msp", "knn"],
    "recipe": {"epochs": 1},
    "pairs": [{"name": "p", "id": {"digits": {"classes": [0, 1, 2, 3]}},
    "near": [{"digits": {"classes": [4, 5]}}]}],
}  # fmt: skip


def _keys(raw: dict[str, Any]) -> set[tuple[str, str]]:
    return {(kind, key) for kind, key, _ in artefacts(make_plan(parse_suite(raw)))}


def test_adding_a_set_a_scorer_a_view_or_a_method_changes_no_existing_key() -> None:
    base = _keys(BASE)
    pair = BASE["pairs"][0]
    for change in (
        {"pairs": [pair | {"far": ["noise"]}]},
        {"pairs": [pair | {"near": [*pair["near"], {"digits": {"classes": [6]}}]}]},
        {"scorers": ["msp", "knn", "vim"]},
        {"scorers": ["msp", "knn", "odin"]},
        {"methods": ["cross-entropy", "als"]},
        {"seeds": [0, 1]},
        {"name": "other"},
    ):
        assert base <= _keys(BASE | change), change


def test_a_spelled_out_default_is_the_same_key() -> None:
    assert _keys(BASE | {"scorers": ["msp", {"knn": {"k": 50}}]}) == _keys(BASE)


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"recipe": {"epochs": 2}}, {"weights", "outputs", "scores"}),
        ({"seeds": [1]}, {"weights", "outputs", "scores"}),
        ({"networks": [{"mlp": {"hidden": [8]}}]}, {"weights", "outputs", "scores"}),
        ({"methods": [{"label-smoothing": {"epsilon": 0.2}}]}, {"weights", "outputs", "scores"}),
        ({"scorers": ["msp", {"knn": {"k": 3}}]}, {"scores"}),
    ],
)
def test_what_an_artefact_depends_on_changes_its_key_and_no_other(
    change: dict[str, Any], kinds: set[str]
) -> None:
    base, changed = _keys(BASE), _keys(BASE | change)
    assert {kind for kind, _ in base - changed} == kinds


def test_an_ood_set_equal_to_the_id_set_image_for_image_is_refused() -> None:
    raw = BASE | {
        "pairs": [
            {
                "name": "p",
                "id": {"digits": {"classes": [0, 1, 2]}},
                "near": {"same": {"digits": {"classes": [0, 1, 2]}}},
            }
        ]
    }
    with pytest.raises(UserError, match="is the ID set"):
        parse_suite(raw)


@pytest.mark.parametrize(
    ("outliers", "message"),
    [
        ({"noise": {"size": 8, "channels": 1}}, "the outliers for training are the OOD set 'noise'"),
        (
            {"joined": {"of": [{"noise": {"size": 8, "channels": 1}}]}},
            "hold images of the OOD test set 'twice'",
        ),
    ],
)
def test_outliers_that_are_an_ood_set_are_refused(outliers: dict[str, Any], message: str) -> None:
    """The second by its images: what is trained on is the training split of one set, and the test split of
    another."""
    noise = {"noise": {"size": 8, "channels": 1}}
    part = {"sampled-test": {"of": noise}}

    @registry.dataset("sampled-test", source="the test")
    def backwards(*, of: Dataset) -> Dataset:
        "The training images of a set as its test images."
        return Dataset({"test": lambda: of["train"]}, of.classes)

    pair = {"name": "p", "id": "digits", "far": {"noise": noise, "twice": part}, "outliers": outliers}
    raw = BASE | {"pairs": [pair], "methods": ["outlier-exposure"]}
    with pytest.raises(UserError, match=message):
        make_plan(parse_suite(raw))
    if "joined" in outliers:
        make_plan(parse_suite(raw | {"methods": ["cross-entropy"]}))  # nobody asks for them


def test_a_network_is_needed_to_train() -> None:
    with pytest.raises(UserError, match="networks"):
        make_plan(parse_suite({k: v for k, v in BASE.items() if k != "networks"}))


def test_the_parents_recipe_is_part_of_the_key(tmp_path: Path) -> None:
    def key(**recipe: Any) -> str:
        parent = {"cross-entropy": {}, "recipe": recipe} if recipe else "cross-entropy"
        plan = make_plan(parse_suite(FAMILY | {"methods": [{"als": {}, "start": "cross-entropy"}, parent]}))
        return plan.runs[0].key

    assert key() == key(epochs=1)
    assert key() != key(epochs=2)


def test_a_resolved_suite_keeps_the_start(tmp_path: Path) -> None:
    suite = parse_suite(FAMILY | {"methods": [{"als": {"lam": {"grid": [1, 2]}}, "start": "cross-entropy"}]})
    file = tmp_path / "family.yaml"
    file.write_text(suite.dump())
    assert [m.label for m in load_suite(file).methods] == [
        "als from cross-entropy",
        "als(lam=2) from cross-entropy",
    ]
    assert [k for _, k, _ in artefacts(make_plan(load_suite(file)))] == [
        k for _, k, _ in artefacts(make_plan(suite))
    ]


def test_members_of_an_ensemble_are_the_runs_of_their_seeds() -> None:
    methods = [{"ensemble": {"members": 3}}, "cross-entropy"]
    suite = parse_suite(FAMILY | {"methods": methods, "seeds": [0, 1]})
    ensembles, singles = make_plan(suite).runs[:2], make_plan(suite).runs[2:]
    assert [[m.seed for m in e.members] for e in ensembles] == [[0, 1, 2], [3, 4, 5]]
    assert [m.key for m in ensembles[0].members[:2]] == [s.key for s in singles]
    assert len({key for kind, key, _ in artefacts(make_plan(suite)) if kind == "weights"}) == 6


def test_what_a_pair_does_not_have_is_refused_or_left_out() -> None:
    raw = FAMILY | {"methods": ["outlier-exposure", "cross-entropy"]}
    with pytest.raises(UserError, match="'outlier-exposure' needs outliers, but pair 'two' names none"):
        make_plan(parse_suite(raw))
    plan = make_plan(parse_suite(raw | {"inapplicable": "skip"}))
    assert [r.method.label for r in plan.runs] == ["cross-entropy"]
    assert len(plan.skipped) == 1
    with pytest.raises(UserError, match="nothing is left to run: method 'outlier-exposure' needs"):
        make_plan(parse_suite(raw | {"inapplicable": "skip", "methods": ["outlier-exposure"]}))


def _gone() -> Dataset:
    raise MissingData("it is not here\nget it there")


def test_missing_data_of_every_pair_is_told_at_once_or_left_out() -> None:
    registry.dataset("t-gone", source="a test")(_gone)
    absent = {"id": "t-gone", "near": ["noise"]}
    raw = FAMILY | {"pairs": [*FAMILY["pairs"], {"name": "p", **absent}, {"name": "q", **absent}]}
    with pytest.raises(UserError) as caught:
        make_plan(parse_suite(raw))
    assert str(caught.value).splitlines() == [
        "family: pair 'p': it is not here", "family: pair 'p': get it there",
        "family: pair 'q': it is not here", "family: pair 'q': get it there",
    ]  # fmt: skip
    plan = make_plan(parse_suite(raw), skip_missing=True)
    assert {r.pair.label for r in plan.runs} == {"two"}
    assert plan.skipped == [line.removeprefix("family: ") for line in str(caught.value).splitlines()]
