from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from oodbench.core.errors import UserError
from oodbench.suite.load import load_suite
from oodbench.suite.parse import parse_suite
from oodbench.suite.schema import json_schema
from tests.conftest import ROOT, TINY

SUITES = ROOT / "suites"


def _suite(**changes: Any) -> dict[str, Any]:
    return {k: v for k, v in (yaml.safe_load(TINY) | changes).items() if v is not None}


def _mistakes(raw: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse_suite(raw)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("file", sorted(SUITES.rglob("*.yaml")), ids=lambda f: str(f.relative_to(SUITES)))
def test_every_committed_suite_loads_and_loads_again_from_its_resolved_form(
    file: Path, tmp_path: Path
) -> None:
    suite = load_suite(file)
    again = tmp_path / file.name
    again.write_text(suite.dump())
    for plugin in suite.plugins:
        (tmp_path / plugin.name).write_text(plugin.read_text())
    second = load_suite(again)
    assert [(p.label, p.split) for p in second.pairs] == [(p.label, p.split) for p in suite.pairs]
    assert [m.label for m in second.methods] == [m.label for m in suite.methods]
    assert [(s.label, s.identity) for s in second.scorers] == [(s.label, s.identity) for s in suite.scorers]
    assert second.recipe == suite.recipe


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scorers": ["mspp"]}, ["scorers[0]", "unknown scorer 'mspp'", "did you mean 'msp'", "allowed:"]),
        ({"scorers": [{"knn": {"k": 0}}]}, ["scorers[0].knn.k", "greater than 0", "got 0"]),
        ({"scorers": [{"knn": {"k": True}}]}, ["scorers[0].knn.k", "got true"]),
        ({"scorers": [{"knn": {"kk": 1}}]}, ["scorers[0].knn", "unknown parameter 'kk'", "allowed:"]),
        ({"scorers": []}, ["scorers", "at least one", "[]"]),
        ({"scorers": None}, ["scorers", "is missing"]),
        ({"scorers": "msp"}, ["scorers", "list", "'msp'"]),
        ({"scorers": ["msp", "msp"]}, ["scorers", "'msp' stands twice", "as:"]),
        ({"scorer": ["msp"]}, ["scorer", "unknown key", "did you mean 'scorers'"]),
        ({"name": "../up"}, ["name", "folder", "'../up'"]),
        ({"name": ""}, ["name", "''"]),
        ({"seeds": []}, ["seeds", "at least one"]),
        ({"seeds": [True]}, ["seeds", "integer"]),
        ({"seeds": [1, 1]}, ["seeds", "twice"]),
        ({"inapplicable": "maybe"}, ["inapplicable", "refuse or skip", "'maybe'"]),
        ({"recipe": {"lr": -1}}, ["recipe.lr", "greater than 0"]),
        ({"recipe": {"lrr": 1}}, ["recipe", "unknown parameter 'lrr'", "did you mean 'lr'"]),
        ({"recipe": {"epochs": True}}, ["recipe", "epochs", "true"]),
        ({"recipe": {"augment": ["flop"]}}, ["recipe.augment[0]", "unknown augmentation 'flop'"]),
        ({"methods": [{"cross-entropy": {}, "recipe": {"lr": "x"}}]}, ["methods[0].recipe.lr", "'x'"]),
        ({"methods": [{"als": {"lam": {"grid": []}}}]}, ["methods[0].grid", "at least one"]),
        ({"methods": [{"als": {"lam": -1}}, "alz"]}, ["methods[0].als.lam", "greater than or equal to 0"]),
        ({"pairs": [{"digits": {"split": 9}}]}, ["pairs[0].digits.split", "less than 5"]),
        (
            {"pairs": [{"name": "p", "id": "digits", "near": ["digits"]}]},
            ["pairs[0].near.digits", "the OOD set is the ID set"],
        ),
        ({"pairs": [{"name": "p", "id": "digits"}]}, ["pairs[0].near", "at least one"]),
        (
            {"pairs": [{"name": "p", "id": "digitz", "far": ["nois"]}]},
            ["pairs[0].id", "did you mean 'digits'"],
        ),
        ({"pairs": [{"name": "a/b", "id": "digits", "far": ["noise"]}]}, ["pairs[0].name", "'a/b'"]),
        ({"plugins": ["none.py"]}, ["plugins[0]", "none.py", "no such file"]),
    ],
)
def test_each_mistake_is_one_line_with_place_and_choices(changes: dict[str, Any], words: list[str]) -> None:
    lines = _mistakes(_suite(**changes))
    assert any(all(w in line for w in words) for line in lines), lines


def test_all_mistakes_are_shown_at_once() -> None:
    lines = _mistakes(_suite(scorers=[{"knn": {"k": 0}}, "mspp"], seeds=[], recipe={"lr": -1}, extra=1))
    assert len(lines) == 5


def test_a_suite_that_is_no_mapping() -> None:
    assert "should be a mapping" in _mistakes([1])[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", ":1:"),
        ("name: a\nname: b\n", "stands twice"),
        ("a: b: c", "not valid YAML"),
        ("name: !!python/object:os.system x", "not valid YAML"),
    ],
)
def test_yaml_mistakes_carry_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        load_suite(file)
    assert str(caught.value).startswith(str(file))
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_suite(tmp_path / "none.yaml")


def test_grids_become_variants_with_labels() -> None:
    suite = parse_suite(
        _suite(
            methods=[
                {"als": {"lam": {"grid": [0.1, 10]}}},
                {"label-smoothing": {"epsilon": 0.2}, "as": "ls"},
            ],
            pairs=[{"digits": {"split": {"grid": [0, 3]}}}],
        )
    )
    assert [m.label for m in suite.methods] == ["als(lam=0.1)", "als(lam=10)", "ls"]
    assert [(p.label, p.split) for p in suite.pairs] == [("digits", 0), ("digits", 3)]


def test_a_grid_with_one_alias_needs_more_names() -> None:
    assert "stands twice" in _mistakes(_suite(methods=[{"als": {"lam": {"grid": [1, 2]}}, "as": "a"}]))[0]


def test_recipe_keys_of_pair_and_method_override_the_suites() -> None:
    suite = parse_suite(_suite(
        recipe={"epochs": 5, "lr": 0.1, "batch_size": 32},
        pairs=[{"digits": {}, "recipe": {"epochs": 6, "lr": 0.2}}],
        methods=["cross-entropy", {"als": {}, "recipe": {"lr": 0.3}}],
    ))  # fmt: skip
    pair, (plain, als) = suite.pairs[0], suite.methods
    assert [suite.recipe_of(pair, plain).model_dump()[k] for k in ("epochs", "lr", "batch_size")] == [
        6,
        0.2,
        32,
    ]
    assert [suite.recipe_of(pair, als).model_dump()[k] for k in ("epochs", "lr", "batch_size")] == [
        6,
        0.3,
        32,
    ]


def test_inline_pairs_name_their_sets() -> None:
    suite = parse_suite(_suite(pairs=[{
        "name": "mine", "id": {"digits": {"classes": [0, 1, 2]}},
        "near": {"others": {"digits": {"classes": [3, 4]}}},
        "far": [{"noise": {"kind": "uniform"}}],
    }]))  # fmt: skip
    pair = suite.pairs[0].pair
    assert list(pair.near) == ["others"]
    assert list(pair.far) == ["noise(kind=uniform)"]


def test_seeds_and_splits_can_be_restricted() -> None:
    suite = parse_suite(_suite(pairs=[{"digits": {"split": {"grid": [0, 1]}}}]))
    assert [p.split for p in suite.restricted(splits=[1]).pairs] == [1]
    assert suite.restricted(seeds=[4, 5]).seeds == (4, 5)
    with pytest.raises(UserError, match="it has 0, 1"):
        suite.restricted(splits=[7])


def test_the_schema_knows_components_and_accepts_the_committed_suites() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for file in SUITES.rglob("*.yaml"):
        errors = [e.message for e in validator.iter_errors(yaml.safe_load(file.read_text()))]
        assert not errors, (file, errors[:2])
    assert list(validator.iter_errors(_suite(scorers=["mspp"])))
    assert list(validator.iter_errors(_suite(methods=[{"als": {"lam": -1}}])))
