"""Signatures: what a description gets wrong is said with its place, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oodbench.core import registry
from oodbench.core.errors import SpecError, UserError
from oodbench.core.scorer import Scorer


@pytest.mark.parametrize(
    ("raw", "path", "words"),
    [
        ({"t-near": {"k": 0}}, "t-near.k", ["greater than 0", "got 0"]),
        ({"t-near": {"k": True}}, "t-near.k", ["number", "true"]),
        ({"t-near": {"top": True}}, "t-near.top", ["number", "true"]),
        ({"t-near": {"k": "many"}}, "t-near.k", ["integer", "'many'"]),
        ({"t-near": {"mode": "c"}}, "t-near.mode", ["'a' or 'b'", "'c'"]),
        (
            {"t-near": {"kk": 1}},
            "t-near",
            ["unknown parameter 'kk'", "did you mean 'k'", "allowed: flag, k, mode, scale, top"],
        ),
        ({"t-near": 3}, "t-near", ["mapping", "3"]),
        ("t-nea", "", ["unknown scorer 't-nea'", "did you mean 't-near'"]),
        ({"t-near": {}, "msp": {}}, "", ["name or {name: {parameter: value}}"]),
        (7, "", ["name or", "7"]),
    ],
)
def test_mistakes_carry_place_and_choices(raw: Any, path: str, words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        registry.resolve("scorer", raw)
    ((place, message),) = caught.value.problems
    assert place == path
    for word in words:
        assert word in message


def test_all_mistakes_of_a_component_are_raised_together_nested_ones_included() -> None:
    with pytest.raises(SpecError) as caught:
        registry.resolve(
            "method", {"t-mix": {"alpha": True, "of": {"t-loss": {"lam": -1, "q": 1}}, "also": ["nothing"]}}
        )
    assert [p for p, _ in caught.value.problems] == [
        "t-mix.alpha",
        "t-mix.of.t-loss.lam",
        "t-mix.of.t-loss",
        "t-mix.also[0]",
    ]


def test_a_relative_path_is_taken_from_the_suites_folder(tmp_path: Path) -> None:
    spec = registry.resolve("method", {"t-loss": {"file": "w.pt"}}, folder=tmp_path)
    assert spec.params["file"] == tmp_path / "w.pt"


def test_an_untyped_parameter_is_refused() -> None:
    with pytest.raises(UserError, match="'k' has no type"):

        @registry.scorer("t-untyped", source="x")
        class Untyped(Scorer):
            def __init__(self, *, k=1) -> None:  # type: ignore[no-untyped-def]
                pass


@pytest.mark.parametrize("raw", [{"checkpoint": {"file": None}}, {"checkpoint": {"file": ["a"]}}])
def test_what_is_no_path_is_said_in_plain_words(raw: Any) -> None:
    with pytest.raises(SpecError) as caught:
        registry.resolve("method", raw)
    assert [p for p, _ in caught.value.problems] == ["checkpoint.file"]
    assert caught.value.problems[0][1].startswith("should be a path, got ")


def test_text_or_path_is_one_mistake() -> None:
    with pytest.raises(SpecError) as caught:
        registry.resolve("network", {"huggingface": {"model": 3}})
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("path", ["{data}", "a/{data}"])
def test_a_path_below_the_data_roots_names_something_there(path: str) -> None:
    with pytest.raises(SpecError, match="should say what lies below the data roots"):
        registry.resolve("method", {"checkpoint": {"file": path}})
