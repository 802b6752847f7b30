"""The JSON schema of a suite file: what editors complete and check it by. It comes from the same signatures
as the checks themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oodbench.core import registry
from oodbench.core.signature import COMPONENT
from oodbench.evaluation.claims import Claim
from oodbench.evaluation.metrics.columns import VALUES
from oodbench.evaluation.reference import PLACES
from oodbench.scoring.tuning import REGIMES
from oodbench.suite.pairs import NAME
from oodbench.suite.parse import REQUIRED
from oodbench.training.recipe import Recipe
from oodbench.training.recipe import schema as recipe_schema


def json_schema() -> dict[str, Any]:
    """The JSON schema of a suite file, components and their parameters included, so that editors complete and
    check it."""
    defs: dict[str, Any] = {}
    for kind in registry.KINDS:
        names, mappings = [], {}
        for name in registry.of_kind(kind):
            component = registry.of_kind(kind)[name]
            names.append({"const": name, "description": component.summary})
            parameters = component.model.model_json_schema(ref_template=f"#/$defs/{kind}.{name}.{{model}}")
            for sub, schema in parameters.pop("$defs", {}).items():
                defs[f"{kind}.{name}.{sub}"] = _referenced(schema)
            parameters = _referenced(parameters)
            for key, schema in parameters.get("properties", {}).items():
                parameters["properties"][key] = {"anyOf": [schema, {"$ref": "#/$defs/grid"}]}
            mappings[name] = parameters | {"description": component.summary, "type": ["object", "null"]}
        beside: dict[str, Any] = {"as": {"type": "string"}}
        if kind in ("method", "pair"):
            beside["recipe"] = {"$ref": "#/$defs/recipe"}
        if kind == "method":
            beside["start"] = {"$ref": "#/$defs/method"}
        component_schema = {"type": "object", "properties": mappings | beside, "additionalProperties": False}
        defs[kind] = {"anyOf": [{"enum": [n["const"] for n in names]}, component_schema]}
    recipe = Recipe.model_json_schema()
    defs |= recipe.pop("$defs", {})
    defs["recipe"] = recipe_schema(recipe)
    defs["grid"] = {
        "type": "object",
        "properties": {"grid": {"type": "array", "minItems": 1}},
        "required": ["grid"],
        "additionalProperties": False,
    }
    sets = {
        "anyOf": [
            {"type": "array", "items": {"$ref": "#/$defs/dataset"}},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/dataset"}},
        ]
    }
    one = {"$ref": "#/$defs/dataset"}
    defs["inline-pair"] = {
        "type": "object", "required": ["name", "id"], "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "id": one, "near": sets, "far": sets, "shifted": sets,
        "ood_val": one, "outliers": one,
                       "geometry": {"type": "object"}, "recipe": {"$ref": "#/$defs/recipe"}},
    }  # fmt: skip

    regime = {"enum": list(REGIMES)}

    def some(items: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": "array", "minItems": 1, "items": items}

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "oodbench suite",
        "type": "object",
        "required": list(REQUIRED),
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
            "pairs": some({"anyOf": [{"$ref": "#/$defs/pair"}, {"$ref": "#/$defs/inline-pair"}]}),
            "networks": some({"$ref": "#/$defs/network"}),
            "methods": some({"$ref": "#/$defs/method"}),
            "scorers": some({"$ref": "#/$defs/scorer"}),
            "seeds": some({"type": "integer", "minimum": 0}),
            "recipe": {"$ref": "#/$defs/recipe"},
            "plugins": {"type": "array", "items": {"type": "string"}},
            "inapplicable": {"enum": ["refuse", "skip"]},
            "tune": {"anyOf": [regime, some(regime)]},
            "attacks": some({"$ref": "#/$defs/view"}),
            "claims": some(_claim_schema(defs)),
            "reference": some(_figure_schema()),
        },
        "$defs": defs,
    }


def _figure_schema() -> dict[str, Any]:
    named = {name: {"type": "string"} for name in (*PLACES, "source")}
    values = {name: {"type": "number"} for v in VALUES for name in (v, f"{v}_std")}
    return {
        "type": "object",
        "required": ["source"],
        "properties": named | values,
        "additionalProperties": False,
    }


def _claim_schema(defs: dict[str, Any]) -> dict[str, Any]:
    schema = Claim.model_json_schema(ref_template="#/$defs/{model}")
    defs |= schema.pop("$defs", {})
    short = {"type": "object", "maxProperties": 1}
    side = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Side"}, short]}
    schema["properties"]["compare"] = {"type": "array", "items": side, "minItems": 2, "maxItems": 2}
    schema["properties"]["expect"] = {"anyOf": [schema["properties"]["expect"], short]}
    return schema


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
