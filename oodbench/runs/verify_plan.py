"""Verification of the rows against the suite beside them: they are those that it asks for, under its
parameters, and carry the keys that suite, data and code give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oodbench.runs.findings import UNCHECKED, Finding, name_of, told
from oodbench.runs.measure import identity
from oodbench.runs.reopen import Opened
from oodbench.suite.asked import asked_of

if TYPE_CHECKING:
    import pandas as pd

_RUN = ("pair", "split", "network", "method", "seed")
_PLACE = (*_RUN, "scorer", "tune", "condition", "id_set", "ood")
_PARAMS = ("pair_params", "method_params", "scorer_params")


def _expected(opened: Opened) -> dict[tuple[str, ...], tuple[tuple[str, ...], bool]]:
    """The rows that the suite asks for, {their _PLACE: (their _PARAMS, whether they must be there)}: a
    scorer's ID row is there only where the scorer has scores."""
    found: dict[tuple[str, ...], tuple[tuple[str, ...], bool]] = {}
    for run in opened.plan.runs:
        for asked in asked_of(run):
            keys = identity(run, asked)
            due = bool(asked.ood) or asked.scorer is None
            found[tuple(keys[k] for k in _PLACE)] = (tuple(keys[k] for k in _PARAMS), due)
    return found


def _said(place: Sequence[str]) -> str:
    return name_of(dict(zip(_PLACE, place, strict=True)))


def check_suite(opened: Opened, rows: pd.DataFrame) -> Finding:
    """The rows are those that the suite asks for: no more, no fewer, under its name and with its parameters
    (a name given by `as:` does not tell them)."""
    wrong = [
        f"rows say {name!r}, suite.yaml {opened.suite.name!r}"
        for name in sorted(set(rows["suite"]) - {opened.suite.name})
    ]
    expected = _expected(opened)
    absent = {p.label for p in opened.suite.pairs} - {r.pair.label for r in opened.plan.runs}
    keyed = rows.loc[~rows["pair"].isin(absent), [*_PLACE, *_PARAMS]].astype(str).to_numpy().tolist()
    there = {tuple(row[: len(_PLACE)]): tuple(row[len(_PLACE) :]) for row in keyed}
    owed = {place for place, (_, due) in expected.items() if due}
    wrong += [f"the suite asks for {_said(p)}, which results.csv lacks" for p in owed - there.keys()]
    wrong += [
        f"results.csv has {_said(p)}, which the suite does not ask for"
        for p in there.keys() - expected.keys()
    ]
    for place in there.keys() & expected.keys():
        for column, mine, asked in zip(_PARAMS, there[place], expected[place][0], strict=True):
            if mine != asked:
                where = _said(place)
                wrong.append(f"{column} of {where} is {mine} in results.csv, suite.yaml asks for {asked}")
    if not wrong and absent:
        return Finding(UNCHECKED, "suite", f"the data of {', '.join(sorted(absent))} are not here")
    return told(
        "suite",
        sorted(wrong),
        f"{len(opened.plan.runs)} runs and {len(owed)} rows are what suite.yaml asks for",
    )


def check_keys(opened: Opened, rows: pd.DataFrame) -> Finding:
    """Every run's key, made again from the suite, the data here and this version's components, is the one its
    rows carry."""
    planned = {tuple(str(v) for v in run.place.values()): run.key for run in opened.plan.runs}
    wrong, unseen = [], 0
    for row in rows.drop_duplicates([*_RUN, "run_key"]).to_dict("records"):
        key = planned.get(tuple(str(row[k]) for k in _RUN))
        if key is None:
            unseen += 1
        elif key != row["run_key"]:
            run = name_of({k: row[k] for k in _RUN})
            wrong.append(
                f"{run}: rows carry {str(row['run_key'])[:12]}, suite, data and code here give {key[:12]}"
            )
    if not wrong and unseen:
        return Finding(UNCHECKED, "keys", f"{unseen} runs cannot be planned here; {len(planned)} hold")
    return told("keys", wrong, f"{len(planned)} run keys follow from suite, data and code")
