"""The key `store`: how outputs are stored, and which keys that reaches."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from oodbench.core.errors import UserError
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import artefacts, make_plan
from oodbench.suite.schema import json_schema

SUITE: dict[str, Any] = {
    "name": "s", "pairs": ["digits"], "networks": [{"mlp": {"hidden": [8]}}], "methods": ["cross-entropy"],
    "scorers": ["msp", "knn", "mc-dropout"],
}  # fmt: skip


def keys(**more: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for kind, key, _ in artefacts(make_plan(parse_suite(SUITE | more))):
        found.setdefault(kind, set()).add(key)
    return found


def test_half_precision_is_another_key_of_outputs_and_of_what_is_made_of_them() -> None:
    plain, half = keys(), keys(store={"dtype": "fp16"})
    assert plain["weights"] == half["weights"]
    for kind in ("outputs", "scores"):
        assert len(plain[kind]) == len(half[kind])
        assert not plain[kind] & half[kind]


@pytest.mark.parametrize("store", [{}, {"dtype": "fp32"}])
def test_the_default_changes_no_key_and_is_not_written(store: dict[str, str]) -> None:
    assert keys(store=store) == keys()
    assert parse_suite(SUITE | {"store": store}).dump() == parse_suite(SUITE).dump()
    assert "store" not in yaml.safe_load(parse_suite(SUITE).dump())


def test_it_is_written_where_it_is_used_and_read_again() -> None:
    suite = parse_suite(SUITE | {"store": {"dtype": "fp16"}})
    again = yaml.safe_load(suite.dump())
    assert again["store"] == {"dtype": "fp16"}
    assert parse_suite(again).dump() == suite.dump()


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ({"dtype": "fp8"}, "store.dtype: "), ({"dtype": 16}, "store.dtype: "),
        ({"type": "fp16"}, "store.type: "),
        ("fp16", "store: "), (None, "store: "), ([], "store: "),
    ],
)  # fmt: skip
def test_what_it_cannot_be_is_one_line(store: Any, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse_suite(SUITE | {"store": store})
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"suite: {said}"), line


def test_the_schema_knows_it() -> None:
    defs = json_schema()
    assert "store" in defs["properties"]
    assert "fp16" in str(defs)
