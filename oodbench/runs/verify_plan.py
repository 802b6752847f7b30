"""Verification of the rows against the suite beside them: they are those that it asks for, under its
parameters, and carry the keys that suite, data and code give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from oodbench.runs.findings import UNCHECKED, Finding, name_of, told
from oodbench.runs.measure import identities
from oodbench.runs.reopen import Opened
from oodbench.suite.run import Run

if TYPE_CHECKING:
    import pandas as pd

_RUN = ("pair", "split", "network", "method", "seed")
_PLACE = (*_RUN, "scorer", "tune", "condition", "id_set", "ood")
_PARAMS = ("pair_params", "method_params", "scorer_params")


_Rows = dict[tuple[str, ...], tuple[str, ...]]
"""Rows by their _PLACE, with their _PARAMS."""


def _expected(run: Run) -> tuple[_Rows, set[tuple[str, ...]]]:
    """The rows that a run owes, and which of them must be there: a scorer's ID row is there only where the
    scorer has scores."""
    found, due = _Rows(), set[tuple[str, ...]]()
    for asked, keys in identities(run):
        place = tuple(keys[k] for k in _PLACE)
        found[place] = tuple(keys[k] for k in _PARAMS)
        if asked.ood or asked.scorer is None:
            due.add(place)
    return found, due


def _texts(rows: pd.DataFrame) -> _Rows:
    keyed = rows[[*_PLACE, *_PARAMS]].astype(str).to_numpy().tolist()
    return {tuple(row[: len(_PLACE)]): tuple(row[len(_PLACE) :]) for row in keyed}


def _said(place: Sequence[str]) -> str:
    return name_of(dict(zip(_PLACE, place, strict=True)))


def _other_params(place: Sequence[str], there: Sequence[str], due: Sequence[str]) -> Iterator[str]:
    for column, mine, asked in zip(_PARAMS, there, due, strict=True):
        if mine != asked:
            yield f"{column} of {_said(place)} is {mine} in results.csv, suite.yaml asks for {asked}"


def check_suite(opened: Opened, rows: pd.DataFrame) -> Finding:
    """The rows are those that the suite asks for: no more, no fewer, under its name and with its parameters
    (a name given by `as:` does not tell them). They are compared run by run, since they may be millions."""
    wrong = [
        f"rows say {name!r}, suite.yaml {opened.suite.name!r}"
        for name in sorted(set(rows["suite"]) - {opened.suite.name})
    ]
    absent = {p.label for p in opened.suite.pairs} - {r.pair.label for r in opened.plan.runs}
    rows = rows.loc[~rows["pair"].isin(absent)]
    grouped = rows.groupby(list(_RUN), sort=False, observed=True, dropna=False).indices
    of_runs: dict[tuple[str, ...], Any] = {
        tuple(str(v) for v in run): at for run, at in cast("Any", grouped).items()
    }
    nothing, count = rows.index[:0].to_numpy(), 0
    for run in opened.plan.runs:
        expected, owed = _expected(run)
        there = _texts(rows.iloc[of_runs.pop(tuple(str(v) for v in run.place.values()), nothing)])
        count += len(owed)
        wrong += [f"the suite asks for {_said(p)}, which results.csv lacks" for p in owed - there.keys()]
        for place, params in there.items():
            if place in expected:
                wrong += _other_params(place, params, expected[place])
            else:
                wrong.append(f"results.csv has {_said(place)}, which the suite does not ask for")
    for at in of_runs.values():
        wrong += [
            f"results.csv has {_said(p)}, which the suite does not ask for" for p in _texts(rows.iloc[at])
        ]
    if not wrong and absent:
        return Finding(UNCHECKED, "suite", f"the data of {', '.join(sorted(absent))} are not here")
    return told(
        "suite",
        sorted(wrong),
        f"{len(opened.plan.runs)} runs and {count} rows are what suite.yaml asks for",
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
