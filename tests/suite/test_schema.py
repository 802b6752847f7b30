"""The JSON schema of a suite's file."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from oodbench.core import registry
from oodbench.suite.parse import parse_suite
from oodbench.suite.schema import json_schema
from oodbench.suite.suite import Suite
from tests.suite.written import SUITES, mistakes, written

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def _errors(schema: dict[str, Any], raw: Any) -> list[str]:
    return [e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(raw)]


def test_it_is_a_schema_and_accepts_the_committed_suites(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    for file in SUITES.rglob("*.yaml"):
        assert not _errors(schema, yaml.safe_load(file.read_text())), file


def test_it_accepts_what_a_suite_is_written_out_as(schema: dict[str, Any]) -> None:
    claim = {
        "id": "a",
        "says": "x",
        "compare": ["als from cross-entropy", "cross-entropy"],
        "expect": "higher",
    }
    suite = parse_suite(written(
        methods=["cross-entropy", {"als": {}, "start": "cross-entropy", "recipe": {"lr": 0.1}}],
        attacks=["fgsm"], claims=[claim], reference=[{"source": "x", "id_accuracy": 90}],
        extract={"precision": "bf16", "batch_size": 8},
    ))  # fmt: skip
    assert not _errors(schema, yaml.safe_load(suite.dump()))


@pytest.mark.parametrize("changes", [
    {"scorers": ["mspp"]},
    {"methods": [{"als": {"lam": -1}}]},
    {"scorers": [{"msp": {}, "start": "als"}]},
    {"scorers": [{"msp": {}, "as": 3}]},
    {"seeds": [-1]},
    {"seeds": []},
    {"name": "../up"},
    {"inapplicable": "maybe"},
    {"tune": ["test"]},
    {"recipe": {"lrr": 1}},
    {"claims": [{"id": "a"}]},
    {"reference": [{"id_accuracy": 90}]},
    {"pairs": [{"name": "p", "far": ["noise"]}]},
    {"pairs": [{"name": "p", "id": "digits", "far": ["noise"], "nears": []}]},
    {"extra": 1},
    {"extract": {"precision": "fp8"}},
    {"extract": {"batch_size": 0}},
    {"extract": {"batch": 3}},
])  # fmt: skip
def test_it_refuses_what_the_parser_refuses(schema: dict[str, Any], changes: dict[str, Any]) -> None:
    assert not _errors(schema, written())
    assert mistakes(written(**changes))
    assert _errors(schema, written(**changes))


def test_every_key_and_every_component_is_in_it(schema: dict[str, Any]) -> None:
    assert list(schema["properties"]) == list(Suite.model_fields)
    assert schema["required"] == ["name", "pairs", "methods", "scorers"]
    assert all(p.get("description") for p in schema["properties"].values())
    for kind in registry.KINDS:
        names, mapping = schema["$defs"][kind]["anyOf"]
        assert set(names["enum"]) == set(registry.of_kind(kind)) <= set(mapping["properties"])
