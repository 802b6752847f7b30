"""Verification of the store's files by their checksums, and of every metric by what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.core.errors import ANYTHING, reason_of
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.rows import IDENTITY, NEWER_KEY
from oodbench.runs.findings import TOLERANCE, UNCHECKED, Finding, name_of, number, text, told
from oodbench.runs.held import Held, artefact
from oodbench.runs.measure import columns, rows_of
from oodbench.runs.packing import addresses
from oodbench.runs.reopen import Opened
from oodbench.runs.store import Store
from oodbench.suite.plan import artefacts

if TYPE_CHECKING:
    import pandas as pd


class _Due(NamedTuple):
    """An artefact that should be there, and where it may be packed."""

    kind: str
    key: str
    title: str
    of: tuple[str, ...]


def _artefacts(opened: Opened) -> Iterator[_Due]:
    """Every artefact of the suite, each once; the scores of a tuned scorer are known once its stored choice
    is."""
    seen: set[tuple[str, str]] = set()
    for run, held in zip(opened.plan.runs, opened.held(), strict=True):
        for one in (run, *([held.run] if isinstance(held, Held) else [])):
            for kind, key, title in artefacts(replace(opened.plan, runs=[one])):
                if (kind, key) not in seen:
                    seen.add((kind, key))
                    yield _Due(kind, key, title, addresses(run))


def check_checksums(opened: Opened) -> Finding:
    """Every stored artefact of the suite matches the checksums it was written with."""
    if opened.store is None:
        return Finding(UNCHECKED, "checksums", "the store is not here; name it with --store")
    wrong, whole, missing = [], 0, []
    for kind, key, title, of in _artefacts(opened):
        at = next((one for one in of if opened.store.has(kind, key, one)), None)
        if at is None:
            missing.append(f"{kind} {key[:12]} ({title})")
            continue
        damage = opened.store.damage(kind, key, at) or _nonsense(opened.store, kind, key, at)
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


def _nonsense(store: Store, kind: str, key: str, of: str) -> str:
    """What is wrong with an artefact that matches its checksums and does not hold what its kind holds."""
    try:
        found = artefact(store, kind, key, of)
        if kind == "choices":
            int(found.json("choice")["place"])
            return ""
        found.tensors(kind)
        about = found.json("run" if kind == "weights" else "meta")
        numbers = {"weights": ["seconds"], "outputs": ["seconds", "n"], "scores": ["seconds", "fit_seconds"]}
        if not all(isinstance(about[k], (int, float)) for k in numbers[kind]):
            return "what it says of itself are no numbers"
        if kind == "weights":
            [float(record["loss"]) for record in found.json("history")]
    except ANYTHING as error:
        return f"matches its checksum and cannot be read ({reason_of(error)})"
    return ""


def check_metrics(opened: Opened, rows: pd.DataFrame) -> list[Finding]:
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
        try:
            again = columns(rows_of(held)).to_dict("records")
        except ANYTHING as error:  # an artefact whole by its checksums may hold anything
            wrong.append(f"{held.run.title}: nothing can be measured of what is stored: {reason_of(error)}")
            continue
        pairs = [(written.get(tuple(str(made[k]) for k in IDENTITY)), made) for made in again]
        there = [(row, made) for row, made in pairs if row is not None]  # of others, `suite` tells
        checked += sum(made["status"] == "ok" for _, made in there)
        wrong += [why for row, made in there if made["status"] == "ok" for why in _differences(row, made)]
        unread += [
            f"{name_of(made)}: {made['reason']}"
            for row, made in there
            if made["status"] != "ok" and row["status"] == "ok"
        ]
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
    for key in ("chosen", NEWER_KEY):
        says, stored = (str(one.get(key, "")) for one in (row, made))
        if says != stored:
            wrong.append(f"{name_of(row)}: {key} is {says!r}, the store says {stored!r}")
    return wrong
