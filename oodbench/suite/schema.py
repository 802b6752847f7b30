"""The JSON schema of a suite file: what editors complete and check it by. It comes from the same signatures
as the checks themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from oodbench.core import registry
from oodbench.core.signature import COMPONENT
from oodbench.evaluation import claims, reference
from oodbench.suite.entries import Entry, MethodEntry, NamedPair, NetworkEntry
from oodbench.suite.pairs import InlinePair
from oodbench.suite.suite import Suite
from oodbench.suite.tuned import ScorerEntry, tune_schema
from oodbench.training import recipe

_BESIDE: dict[str, type[Entry]] = {
    "method": MethodEntry,
    "pair": NamedPair,
    "network": NetworkEntry,
    "scorer": ScorerEntry,
}
"""Whose keys stand beside a component in a suite's list; Entry's for the other kinds."""
_GRID = {
    "type": "object",
    "properties": {"grid": {"type": "array", "minItems": 1}},
    "required": ["grid"],
    "additionalProperties": False,
}


def json_schema() -> dict[str, Any]:
    """The JSON schema of a suite file, components and their parameters included, so that editors complete and
    check it."""
    defs: dict[str, Any] = {}
    for kind in registry.KINDS:
        defs[kind] = _components(kind, defs)
    defs["recipe"] = recipe.schema(_of(recipe.Recipe, defs))
    defs["inline-pair"] = _of(InlinePair, defs)
    defs["claim"] = claims.schema(_of(claims.Claim, defs))
    defs["figure"] = reference.schema()
    defs["regime"] = tune_schema()
    defs["grid"] = _GRID
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_of(Suite, defs),
        "title": "oodbench suite",
        "description": "what to run: pairs x networks x methods x seeds, scored by every scorer",
        "$defs": defs,
    }


def _components(kind: str, defs: dict[str, Any]) -> dict[str, Any]:
    """The schema of one component of a kind: its name, or its name with parameters, and the keys beside
    it."""
    mappings = {}
    for name in registry.of_kind(kind):
        component = registry.of_kind(kind)[name]
        parameters = _of(component.model, defs, prefix=f"{kind}.{name}.")
        for key, schema in parameters.get("properties", {}).items():
            parameters["properties"][key] = {"anyOf": [schema, {"$ref": "#/$defs/grid"}]}
        mappings[name] = parameters | {"description": component.summary, "type": ["object", "null"]}
    model = _BESIDE.get(kind, Entry)
    beside = {k: v for k, v in _of(model, defs)["properties"].items() if k in model.beside()}
    return {
        "anyOf": [
            {"enum": list(mappings)},
            {"type": "object", "properties": mappings | beside, "additionalProperties": False},
        ]
    }


def _of(model: type[BaseModel], defs: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The schema of a pydantic model; models that it holds go to `defs`."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    for name, inner in schema.pop("$defs", {}).items():
        defs[prefix + name] = _referenced(inner)
    return _referenced(schema)  # type: ignore[no-any-return]


def _referenced(schema: Any) -> Any:
    """The schema with a reference wherever a component is nested (pydantic itself takes no reference that it
    has not made)."""
    if isinstance(schema, list):
        return [_referenced(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get(COMPONENT)
    rest = {k: _referenced(v) for k, v in schema.items() if k != COMPONENT}
    return rest | ({"$ref": f"#/$defs/{kind}"} if kind else {})
