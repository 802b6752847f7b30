"""Is what a results folder says so? Everything that can be made again from what is here is made again and
compared, thing by thing.

Each finding *holds*, is *contradicted*, or *cannot be checked here*, and says why. With the store: files
against their checksums, every metric from the stored scores and outputs. Without: what the files alone can
show (the leaderboard and the page from the rows, rows against the suite and against one another). Nothing is
made, repaired or removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.core.errors import UserError
from oodbench.evaluation.leaderboard import over_trials
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.rows import IDENTITY
from oodbench.runs import verify_files as files
from oodbench.runs.findings import TOLERANCE, UNCHECKED, Finding, name_of, number, text, told
from oodbench.runs.folder import ResultsFolder
from oodbench.runs.held import Held
from oodbench.runs.measure import columns, identity, rows_of
from oodbench.runs.reopen import Opened, reopened
from oodbench.suite.plan import artefacts

if TYPE_CHECKING:
    import pandas as pd


def folder(path: Path, store: Path | None = None, plugins: Sequence[Path] = ()) -> list[Finding]:
    """Everything that can be said of a results folder. UserError only where there is no results.csv to speak
    of."""
    here = ResultsFolder.of(path)
    rows = here.rows()
    board = over_trials(rows)
    found = [
        files.check_rows(rows),
        files.check_leaderboard(here.path, board),
        files.check_page(here.path, board),
    ]
    try:
        opened = reopened(path, store, plugins)
    except UserError as error:
        why = "; ".join(str(error).splitlines()[:2])
        found += [
            Finding(UNCHECKED, "suite and keys", why),
            Finding(UNCHECKED, "metrics", "the suite cannot be planned here"),
        ]
    else:
        found += [
            _suite(opened, rows),
            *files.check_claims(here.path, opened.suite, rows),
            _keys(opened, rows),
            _checksums(opened),
            *_metrics(opened, rows),
        ]
    return [*found, files.check_versions(here)]


_RUN = ("pair", "split", "network", "method", "seed")
_PLACE = (*_RUN, "scorer", "tune", "condition", "id_set", "ood")
_PARAMS = ("pair_params", "method_params", "scorer_params")


def _expected(opened: Opened) -> dict[tuple[str, ...], tuple[tuple[str, ...], bool]]:
    """The rows that the suite asks for, {their _PLACE: (their _PARAMS, whether they must be there)}: a
    scorer's ID row is there only where the scorer has scores."""
    found: dict[tuple[str, ...], tuple[tuple[str, ...], bool]] = {}
    for run in opened.plan.runs:
        for asked in run.asked():
            keys = identity(run, asked)
            due = bool(asked.ood) or asked.scorer is None
            found[tuple(keys[k] for k in _PLACE)] = (tuple(keys[k] for k in _PARAMS), due)
    return found


def _said(place: Sequence[str]) -> str:
    return name_of(dict(zip(_PLACE, place, strict=True)))


def _suite(opened: Opened, rows: pd.DataFrame) -> Finding:
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


def _keys(opened: Opened, rows: pd.DataFrame) -> Finding:
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


def _artefacts(opened: Opened) -> Iterator[tuple[str, str, str]]:
    """(kind, key, title) of every artefact of the suite, each once; the scores of a tuned scorer are known
    once its stored choice is."""
    chosen = replace(opened.plan, runs=[h.run for h in opened.held() if isinstance(h, Held)])
    found = {(kind, key): title for p in (opened.plan, chosen) for kind, key, title in artefacts(p)}
    yield from ((kind, key, title) for (kind, key), title in found.items())


def _checksums(opened: Opened) -> Finding:
    """Every stored artefact of the suite matches the checksums it was written with."""
    if opened.store is None:
        return Finding(UNCHECKED, "checksums", "the store is not here; name it with --store")
    wrong, whole, missing = [], 0, []
    for kind, key, title in _artefacts(opened):
        if not opened.store.has(kind, key):
            missing.append(f"{kind} {key[:12]} ({title})")
            continue
        damage = opened.store.damage(kind, key)
        whole += not damage
        if damage:
            wrong.append(f"{kind} {key[:12]} ({title}): {damage}")
    if not wrong and missing:
        return Finding(
            UNCHECKED,
            "checksums",
            f"{len(missing)} artefacts are not in the store, first {missing[0]}; {whole} hold",
        )
    return told("checksums", wrong, f"{whole} artefacts match the checksums they were written with")


def _metrics(opened: Opened, rows: pd.DataFrame) -> list[Finding]:
    """Every metric of every row, made again from the stored scores and outputs."""
    if opened.store is None:
        return [Finding(UNCHECKED, "metrics", "the store is not here; name it with --store")]
    wrong: list[str] = []
    unread: list[str] = []
    checked = 0
    written = {tuple(str(r[k]) for k in IDENTITY): r for r in rows.to_dict("records")}
    for held in opened.held():
        if not isinstance(held, Held):
            unread.append(f"{held[0].title}: {held[1]}")
            continue
        for made in columns(rows_of(held)).to_dict("records"):
            row = written.get(tuple(str(made[k]) for k in IDENTITY))
            if row is None:  # of rows that are not there, `suite` tells
                continue
            if made["status"] == "ok":
                checked += 1
                wrong += _differences(row, made)
            elif row["status"] == "ok":
                unread.append(f"{name_of(made)}: {made['reason']}")
    found = []
    if unread:
        more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
        found.append(Finding(UNCHECKED, "metrics", unread[0] + more))
    if checked or wrong:
        found.append(told("metrics", wrong, f"{checked} rows follow from stored scores and outputs"))
    return found


def _differences(row: Mapping[Any, Any], made: Mapping[Any, Any]) -> list[str]:
    """What a row of results.csv says otherwise than the store."""
    if row["status"] != "ok":
        return [f"{name_of(row)}: is {row['status']} in results.csv, the store has its scores"]
    wrong = []
    for metric in METRICS:
        a, b = number(row[metric]), number(made[metric])
        if not np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            wrong.append(f"{metric} of {name_of(row)} is {text(a)} in results.csv, the store gives {text(b)}")
    if str(row["chosen"]) != str(made["chosen"]):
        wrong.append(f"{name_of(row)}: chosen is {row['chosen']!r}, the store says {made['chosen']!r}")
    return wrong
