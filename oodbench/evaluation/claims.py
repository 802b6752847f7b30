"""What a suite states before it is run: a claim and its two sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from oodbench.core.errors import SpecError, meant, shown
from oodbench.core.signature import problems_of
from oodbench.evaluation.metrics.columns import METRICS


class Side(BaseModel):
    """One side of a claim's comparison: a method of the suite by its label, or the best variant of a method
    by a validation metric."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: str = Field(description="a label, such as als(lam=10); with `select`, the method's name")
    scorer: str = Field(
        "", description="a scorer of the suite for this side alone; default: each of the claim's"
    )
    select: Literal["", "val_accuracy", "val_nll"] = Field(
        "", description="per split, the variant that is best on ID validation"
    )


class Claim(BaseModel):
    """A statement that two trained methods differ (or do not), which a run's rows support, contradict or
    leave undecided."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    says: str = Field(min_length=1)
    source: str = ""
    basis: Literal["", "found in the paper's text", "inferred"] = ""
    compare: tuple[Side, Side] = Field(description="A and B; `expect` speaks of A - B")
    metric: str = "auroc"
    shift: Literal["near", "far", "any"] = "near"
    scorers: tuple[str, ...] = Field(
        (), description="labels of the suite's scorers, the primary one first; default: the suite's first"
    )
    pairs: tuple[str, ...] = Field((), description="labels of the suite's pairs; default: all")
    condition: str = "clean"
    expect: Literal["lower", "higher", "not-lower", "not-higher", "equal-within"]
    margin: float = Field(
        0.005, gt=0, description="what still counts as equal, for not-lower, not-higher and equal-within"
    )
    alpha: float = Field(0.05, gt=0, lt=0.5)


def schema(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of a claim as a suite may write it, given that of its keys: the short forms too."""
    short = {"type": "object", "maxProperties": 1}
    side = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Side"}, short]}
    properties = keys["properties"]
    compare = {"type": "array", "items": side, "minItems": 2, "maxItems": 2}
    expect = {"anyOf": [properties["expect"], short]}
    return {**keys, "properties": {**properties, "compare": compare, "expect": expect}}


def parse_claims(
    raw: Any, methods: Mapping[str, str], scorers: Sequence[str], pairs: Sequence[str]
) -> tuple[Claim, ...]:
    """The claims of a suite file. `methods`: {label: name}; `scorers`, `pairs`: labels. Raises SpecError with
    every mistake."""
    if not isinstance(raw, list):
        raise SpecError([("", f"should be a list of claims, got {shown(raw)}")])
    made: list[Claim] = []
    problems: list[tuple[str, str]] = []
    for i, entry in enumerate(raw):
        try:
            claim = Claim.model_validate(_written_out(entry, scorers))
        except pydantic.ValidationError as error:
            problems += [
                (p.removeprefix("."), m) for p, m in problems_of(error, f"[{i}]", list(Claim.model_fields))
            ]
            continue
        except SpecError as error:
            problems += [(f"[{i}].{p}" if p else f"[{i}]", m) for p, m in error.problems]
            continue
        problems += [(f"[{i}].{p}", m) for p, m in _unknown(claim, methods, scorers, pairs)]
        if claim.id in [m.id for m in made]:
            problems.append((f"[{i}].id", f"{claim.id!r} stands twice"))
        made.append(claim)
    if problems:
        raise SpecError(problems)
    return tuple(made)


def _written_out(entry: Any, scorers: Sequence[str]) -> dict[str, Any]:
    """A claim with its short forms written out: a side as a label or {name: {select: ...}}, `expect:
    {equal-within: 0.01}`."""
    if not isinstance(entry, Mapping):
        raise SpecError([("", f"should be a mapping with id, says, compare, expect, got {shown(entry)}")])
    full = dict(entry)
    sides = full.get("compare")
    if not isinstance(sides, list) or len(sides) != 2:
        raise SpecError([("compare", f"should be a list of two methods [A, B], got {shown(sides)}")])
    full["compare"] = [_side_of(s) for s in sides]
    expect = full.get("expect")
    if isinstance(expect, Mapping) and len(expect) == 1:
        ((full["expect"], full["margin"]),) = expect.items()
    full.setdefault("scorers", list(scorers[:1]))
    return full


def _side_of(side: Any) -> Any:
    if isinstance(side, str):
        return {"method": side}
    if isinstance(side, Mapping) and len(side) == 1 and "method" not in side:
        ((name, rest),) = side.items()
        return {"method": name, **rest} if isinstance(rest, Mapping) else side
    return side


def _unknown(
    claim: Claim, methods: Mapping[str, str], scorers: Sequence[str], pairs: Sequence[str]
) -> Iterable[tuple[str, str]]:
    for i, side in enumerate(claim.compare):
        allowed = list(dict.fromkeys(methods.values() if side.select else methods))
        if side.method not in allowed:
            yield f"compare[{i}]", f"no method {side.method!r} in this suite{meant(side.method, allowed)}"
        if side.scorer and side.scorer not in scorers:
            yield (
                f"compare[{i}].scorer",
                f"no scorer {side.scorer!r} in this suite{meant(side.scorer, scorers)}",
            )
    for kind, named, there in (("scorers", claim.scorers, scorers), ("pairs", claim.pairs, pairs)):
        for name in named:
            if name not in there:
                yield kind, f"no {kind[:-1]} {name!r} in this suite{meant(name, there)}"
    if claim.metric not in METRICS:
        yield "metric", f"unknown metric {claim.metric!r}{meant(claim.metric, METRICS)}"
