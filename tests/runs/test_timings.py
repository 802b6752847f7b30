"""How long a training takes, by those like it that a store has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oodbench.runs.runner import run
from oodbench.runs.store import Store
from oodbench.runs.timings import Took
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from tests.runs.suites import SMALL


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three trainings that are said to have taken 30, 10 and 20 seconds."""
    folder = tmp_path_factory.mktemp("took")
    run(parse_suite(SMALL | {"seeds": [0, 1, 2]}), results=folder, device="cpu", plots=False)
    for seconds, file in zip((30, 10, 20), sorted(folder.glob(".store/weights/*/*/run.json")), strict=True):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": seconds}))
    return Store.opened(folder / ".store")


def took(store: Store | None, **changes: Any) -> float | None:
    plan = make_plan(parse_suite(SMALL | changes))
    stored = store.there("weights") if store is not None else set[str]()
    return Took(plan, store=store, stored=stored).usual(plan.runs[-1])  # type: ignore[arg-type]


def test_it_is_the_median_of_the_suites_own(store: Store) -> None:
    assert took(store, seeds=[0, 1, 2]) == 20
    assert took(store, seeds=[0, 1, 2], methods=["cross-entropy", "als"]) == 20, "the recipe is the same"


def test_without_such_ones_others_of_the_store_count(store: Store) -> None:
    assert took(store, seeds=[7]) == 20
    assert took(store, seeds=[7], methods=["als"]) == 20


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": SMALL["recipe"] | {"epochs": 2}},
        {"networks": [{"mlp": {"hidden": [9]}}]},
        {"pairs": [SMALL["pairs"][0] | {"name": "q"}], "seeds": [7]},
    ],
)
def test_others_say_nothing(store: Store, changes: dict[str, Any]) -> None:
    assert took(store, **changes) is None
    assert took(None) is None
