"""From plain values to a suite: what each key refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from oodbench.suite.parse import parse_suite
from tests.suite.written import mistakes, written


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
    lines = mistakes(written(**changes))
    assert any(all(w in line for w in words) for line in lines), lines


def test_a_suite_that_is_no_mapping() -> None:
    assert "should be a mapping" in mistakes([1])[0]


def test_plugins_are_python_files() -> None:
    assert mistakes(written(plugins="mine.py")) == [
        "suite: plugins: should be a list of Python files, got 'mine.py'"
    ]


def test_a_key_that_is_no_text_is_unknown() -> None:
    (line,) = mistakes(written() | {3: "x"})
    assert line.startswith("suite: 3: unknown key; allowed: attacks, claims,")


def test_defaults() -> None:
    suite = parse_suite(written())
    assert (suite.seeds, suite.tune, suite.inapplicable) == ((0,), ("none",), "refuse")
    assert (suite.plugins, suite.attacks, suite.claims, suite.reference) == ((), (), (), ())
    assert suite.file is None
