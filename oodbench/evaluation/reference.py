"""Headline figures that a suite carries with their sources, to stand beside its own results.

    reference:
      - {method: cross-entropy, id_accuracy: 95.06, id_accuracy_std: 0.30, source: OpenOOD v1.5}
      - {pair: openood-cifar10, method: cross-entropy, scorer: msp, near_auroc: 88.03, far_auroc: 90.73,
        source: OpenOOD v1.5}

Names are the suite's; what is left out (pair, network, method, scorer) holds for all. Values are a
leaderboard's, fractions in percent, as papers print them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import SpecError, UserError, meant, shown
from oodbench.evaluation import comparison
from oodbench.evaluation.comparison import Group
from oodbench.evaluation.metrics.columns import VALUES, in_percent, of_network
from oodbench.evaluation.tables import FINITE

if TYPE_CHECKING:
    import pandas as pd

PLACES = ("pair", "network", "method", "scorer")


def schema() -> dict[str, Any]:
    """The JSON schema of one figure."""
    return {
        "type": "object",
        "required": ["source"],
        "properties": {name: {"type": "string"} for name in (*PLACES, "source")}
        | {name: {"type": "number"} for v in VALUES for name in (v, f"{v}_std")},
        "additionalProperties": False,
    }


Names = Mapping[str, Sequence[str]]


def parse_reference(raw: Any, names: Names | None) -> tuple[Mapping[str, Any], ...]:
    """The figures of a suite, checked: `names` are the labels that the suite has for each of PLACES; None:
    they are not known here, and any text will do. SpecError names every mistake."""
    if not isinstance(raw, list) or not raw or not all(isinstance(f, Mapping) for f in raw):
        example = "{method: cross-entropy, id_accuracy: 95.06, source: ...}"
        raise SpecError([("", f"should be a list of figures such as {example}, got {shown(raw)}")])
    problems = [(f"[{i}]{at}", says) for i, figure in enumerate(raw) for at, says in _problems(figure, names)]
    if problems:
        raise SpecError(problems)
    return tuple(dict(f) for f in raw)


def _problems(figure: Mapping[str, Any], names: Names | None) -> Iterator[tuple[str, str]]:
    """What is wrong with one figure, each with its place."""
    for key, value in figure.items():
        if problem := _problem(key, value, names):
            yield f".{key}", problem
    if not str(figure.get("source") or "").strip():
        yield ".source", "is missing: where the figure was read"
    values = [v for v in VALUES if v in figure]
    if not values:
        yield "", f"holds no figure; allowed: {', '.join(VALUES)}"
    elif "scorer" not in figure and (of := [v for v in values if not of_network(v)]):
        yield "", f"{of[0]} is a scorer's; name the scorer"


def _problem(key: str, value: Any, names: Names | None) -> str:
    """What is wrong with one value; empty if nothing."""
    allowed = (*PLACES, "source", *VALUES, *(f"{v}_std" for v in VALUES))
    if key not in allowed:
        return f"unknown key{meant(str(key), allowed)}"
    if key in PLACES and names is not None:
        others = ", ".join(names[key])
        return "" if value in names[key] else f"{shown(value)} is no {key} of this suite; allowed: {others}"
    if key in (*PLACES, "source"):
        return "" if value is None or isinstance(value, str) else f"should be text, got {shown(value)}"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    percent = in_percent(key.removesuffix("_std"))
    if number and 0 <= value <= (100 if percent else FINITE[1]):
        return ""
    return f"should be a number {'in percent' if percent else '>= 0'}, got {shown(value)}"


def group_of(figures: Sequence[Mapping[str, Any]], board: pd.DataFrame) -> Group:
    """The figures as a group to compare a leaderboard with: one row for each of its rows that some figure
    speaks of."""
    import pandas as pd

    made = []
    places = board[list(PLACES)].drop_duplicates()
    for place in places.to_dict("records"):
        values: dict[str, Any] = {}
        for figure in figures:
            if all(figure.get(k, place[k]) == place[k] for k in PLACES):
                values |= {k: _as_ours(k, v) for k, v in figure.items() if k not in (*PLACES, "source")}
        if values:
            made.append({str(k): v for k, v in place.items()} | values)
    return comparison.published("reference", pd.DataFrame(made, columns=None if made else [*PLACES]))


def _as_ours(key: str, value: float) -> float:
    return float(value) / (100 if in_percent(key.removesuffix("_std")) else 1)


def groups(
    path: Path, figures: Sequence[Mapping[str, Any]], conditions: Sequence[str] = ()
) -> tuple[Group, Group]:
    """A results folder and its suite's figures. UserError where there are none."""
    if not figures:
        raise UserError(
            f"{path}: its suite carries no reference figures; name another folder or a table, or rows by"
            " --where-b"
        )
    ours = comparison.load(path, conditions)
    return ours, group_of(figures, ours.board)
