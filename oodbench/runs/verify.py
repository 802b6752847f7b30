"""Is what a results folder says so? Everything that can be made again from what is here is made again and
compared, thing by thing.

Each finding *holds*, is *contradicted*, or *cannot be checked here*, and says why. With the store: files
against their checksums, every metric from the stored scores and outputs. Without: what the files alone can
show (the leaderboard and the page from the rows, rows against the suite and against one another). Nothing is
made, repaired or removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oodbench.core.errors import UserError
from oodbench.evaluation.leaderboard import over_trials
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.rows import IDENTITY, read_rows, results_file
from oodbench.runs.findings import TOLERANCE, UNCHECKED, Finding, _float, _name, _text, _told
from oodbench.runs.held import Held
from oodbench.runs.measure import columns, params_text, rows_of
from oodbench.runs.reopen import Opened, reopened
from oodbench.runs.verify_files import _claims, _leaderboard, _page, _rows, _versions
from oodbench.suite.plan import artefacts
from oodbench.suite.run import Run
from oodbench.suite.sets import OOD_SHIFTS

if TYPE_CHECKING:
    import pandas as pd


def folder(path: Path, store: Path | None = None, plugins: Sequence[Path] = ()) -> list[Finding]:
    """Everything that can be said of a results folder. UserError only where there is no results.csv to speak
    of."""
    rows = read_rows(results_file(path))
    folder = results_file(path).parent
    board = over_trials(rows)
    found = [_rows(rows), _leaderboard(folder, board), _page(folder, board)]
    try:
        opened = reopened(path, store, plugins)
    except UserError as error:
        why = "; ".join(str(error).splitlines()[:2])
        gone = Finding(UNCHECKED, "suite and keys", why)
        return [
            *found,
            gone,
            Finding(UNCHECKED, "metrics", "the suite cannot be planned here"),
            *_versions(folder),
        ]
    found += [
        _suite(opened, rows),
        *_claims(opened, rows),
        _keys(opened, rows),
        _checksums(opened),
        *_metrics(opened, rows),
    ]
    return [*found, *_versions(folder)]


def _expected(opened: Opened) -> tuple[dict[tuple[str, ...], tuple[str, ...]], set[str]]:
    """The rows that the suite asks for, {their _PLACE: their _PARAMS}, and pairs not here."""
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for run in opened.plan.runs:
        ood = [s.name for s in run.sets.values() if s.shift in OOD_SHIFTS] + list(
            run.data.missing if run.data is not None else ()
        )
        base, params = _run_place(run), (params_text(run.pair.params), params_text(run.method.spec.params))
        found[(*base, "", "none", "")] = (*params, "{}")
        for s in run.scorers:
            for name in ood:
                found[(*base, s.declared.label, s.tune, name)] = (*params, params_text(s.declared.params))
    here = {r.pair.label for r in opened.plan.runs}
    return found, {p.label for p in opened.suite.pairs} - here


_RUN = ("pair", "split", "network", "method", "seed")
_PLACE = (*_RUN, "scorer", "tune", "ood")
_PARAMS = ("pair_params", "method_params", "scorer_params")


def _run_place(run: Run) -> tuple[str, ...]:
    split = "" if run.pair.split is None else str(run.pair.split)
    return run.pair.label, split, run.network.label if run.network else "", run.method.label, str(run.seed)


def _suite(opened: Opened, rows: pd.DataFrame) -> Finding:
    """The rows are those that the suite asks for: no more, no fewer, under its name and with its parameters
    (a name given by `as:` does not tell them)."""
    wrong = [
        f"rows say {name!r}, suite.yaml {opened.suite.name!r}"
        for name in sorted(set(rows["suite"]) - {opened.suite.name})
    ]
    expected, absent = _expected(opened)
    clean = rows[(rows["condition"] == "clean") & (rows["id_set"] == "id") & ~rows["pair"].isin(absent)]
    clean = clean[(clean["ood"] != "") | (clean["scorer"] == "")]
    keyed = clean[[*_PLACE, *_PARAMS]].astype(str).to_numpy().tolist()
    there = {tuple(row[: len(_PLACE)]): tuple(row[len(_PLACE) :]) for row in keyed}
    for place in expected.keys() - there.keys():
        wrong.append(
            f"the suite asks for {_name(dict(zip(_PLACE, place, strict=True)))}, which results.csv lacks"
        )
    for place in there.keys() - expected.keys():
        wrong.append(
            f"results.csv has {_name(dict(zip(_PLACE, place, strict=True)))}, which the suite does not"
            " ask for"
        )
    for place in there.keys() & expected.keys():
        for name, mine, asked in zip(_PARAMS, there[place], expected[place], strict=True):
            if mine != asked:
                where = _name(dict(zip(_PLACE, place, strict=True)))
                wrong.append(f"{name} of {where} is {mine} in results.csv, suite.yaml asks for {asked}")
    if not wrong and absent:
        return Finding(UNCHECKED, "suite", f"the data of {', '.join(sorted(absent))} are not here")
    return _told(
        "suite",
        sorted(wrong),
        f"{len(opened.plan.runs)} runs and {len(expected)} rows are what suite.yaml asks for",
    )


def _keys(opened: Opened, rows: pd.DataFrame) -> Finding:
    """Every run's key, made again from the suite, the data here and this version's components, is the one its
    rows carry."""
    planned = {_run_place(run): run.key for run in opened.plan.runs}
    wrong, unseen = [], 0
    for row in rows.drop_duplicates([*_RUN, "run_key"]).to_dict("records"):
        key = planned.get(tuple(str(row[k]) for k in _RUN))
        if key is None:
            unseen += 1
        elif key != row["run_key"]:
            run = _name({k: row[k] for k in _RUN})
            wrong.append(
                f"{run}: rows carry {str(row['run_key'])[:12]}, suite, data and code here give {key[:12]}"
            )
    if not wrong and unseen:
        return Finding(UNCHECKED, "keys", f"{unseen} runs cannot be planned here; {len(planned)} hold")
    return _told("keys", wrong, f"{len(planned)} run keys follow from suite, data and code")


def _checksums(opened: Opened) -> Finding:
    """Every stored artefact of the suite matches the checksums it was written with."""
    if opened.store is None:
        return Finding(UNCHECKED, "checksums", "the store is not here; name it with --store")
    wrong, whole, missing = [], 0, []
    for kind, key, title in artefacts(opened.plan):
        if not opened.store.has(kind, key):
            missing.append(f"{kind} {key[:12]} ({title})")
            continue
        damage = opened.store.wrong(kind, key)
        whole += not damage
        if damage:
            wrong.append(f"{kind} {key[:12]} ({title}): {damage}")
    if not wrong and missing:
        return Finding(
            UNCHECKED,
            "checksums",
            f"{len(missing)} artefacts are not in the store, first {missing[0]}; {whole} hold",
        )
    return _told("checksums", wrong, f"{whole} artefacts match the checksums they were written with")


def _metrics(opened: Opened, rows: pd.DataFrame) -> list[Finding]:
    """Every metric of every row, made again from the stored scores and outputs; and timing.csv from what the
    artefacts recorded."""
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
        for made in columns(rows_of(held.run, held.outputs, held.scores, held.absent)).to_dict("records"):
            row = written.get(tuple(str(made[k]) for k in IDENTITY))
            if made["status"] != "ok":
                # a scorer that failed left no scores behind
                if held.absent.get(str(made["scorer"])) is not None and (
                    row is None or row["status"] != "failed"
                ):
                    unread.append(f"{_name(made)}: {made['reason']}")
                continue
            if row is None:
                continue  # `suite` and `keys` say so
            checked += 1
            if row["status"] != "ok":
                wrong.append(f"{_name(row)}: is {row['status']} in results.csv, the store has its scores")
            for metric in METRICS if row["status"] == "ok" else ():
                a, b = _float(row[metric]), _float(made[metric])
                if not np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
                    wrong.append(
                        f"{metric} of {_name(row)} is {_text(a)} in results.csv, the store gives {_text(b)}"
                    )
            if str(row["chosen"]) != str(made["chosen"]):
                wrong.append(f"{_name(row)}: chosen is {row['chosen']!r}, the store says {made['chosen']!r}")
    found = []
    if unread:
        found.append(
            Finding(
                UNCHECKED,
                "metrics",
                unread[0] + (f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""),
            )
        )
    if checked or wrong:
        found.append(_told("metrics", wrong, f"{checked} rows follow from stored scores and outputs"))
    return found
