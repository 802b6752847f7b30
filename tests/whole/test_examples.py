"""The examples in the docstrings of public names run, and show what they say."""

from __future__ import annotations

import doctest

import pytest
import torch

import oodbench
from oodbench.data.samples import TensorSamples

NAMES = (
    "Geometry",
    "Samples",
    "Dataset",
    "Pair",
    "Outputs",
    "View",
    "Scorer",
    "UserError",
    "build",
    "score_all",
    "Suite",
    "load_suite",
)
GLOBALS = {"oodbench": oodbench, "torch": torch, "TensorSamples": TensorSamples}


def _run(thing: object, name: str) -> None:
    (found,) = doctest.DocTestFinder(recurse=False).find(thing, name, globs=dict(GLOBALS))
    assert found.examples, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    told: list[str] = []
    runner.run(found, out=told.append)
    assert not runner.failures, "".join(told)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_shows_what_happens(name: str) -> None:
    _run(getattr(oodbench, name), name)


def test_the_example_of_a_registry() -> None:
    _run(type(oodbench.dataset), "Registry")
