"""Verification of timing.csv and history.csv: they say what the store recorded when each artefact was made.
Seconds cannot be measured again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.core.errors import ANYTHING, UserError, reason_of
from oodbench.evaluation.tables import table
from oodbench.runs.findings import UNCHECKED, Finding, damaged, name_of, number, text, told
from oodbench.runs.folder import HISTORY, TIMING, ResultsFolder
from oodbench.runs.held import Held, history
from oodbench.runs.reopen import Opened
from oodbench.suite.run import Run

if TYPE_CHECKING:
    import pandas as pd

_VALUES = {"timing": ("n", "seconds", "bytes"), "history": ("loss", "lr", "val_accuracy", "acted")}
_COLUMNS = {"timing": TIMING, "history": HISTORY}


def check_records(here: ResultsFolder, opened: Opened | None, rows: pd.DataFrame, name: str) -> list[Finding]:
    """One of the tables ``timing`` and ``history`` against the records of the store; nothing where there is
    no such table."""
    file = here.path / f"{name}.csv"
    try:
        file = table(here.path, name) or file
        frame = here.frame(name)
    except UserError as error:
        return [damaged(file, error)]
    if frame is None:
        return []
    if opened is None or opened.store is None:
        return [Finding(UNCHECKED, file.name, "the store is not here; name it with --store")]
    records, mine = _records(opened, rows, name), _placed(frame.to_dict("records"), name)
    partial = bool(opened.plan.skipped)  # of pairs whose data are not here, nothing is known
    wrong = list(_against(mine, records, name, merged=_merged(here), partial=partial))
    found = []
    gone = sorted({why for at, why in records.unread.items() if at in mine})
    if gone and not wrong:
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        found.append(Finding(UNCHECKED, file.name, gone[0] + more))
    if records.due or wrong:
        more = "; seconds cannot be measured again" if name == "timing" else ""
        found.append(
            told(
                file.name,
                wrong,
                f"{sum(map(len, records.due.values()))} rows are what the store recorded{more}",
            )
        )
    return found


def _merged(here: ResultsFolder) -> bool:
    try:
        return "merged from" in here.environment()
    except UserError:
        return False


Place = tuple[str, ...]
Rows = dict[Place, list[Mapping[Any, Any]]]
"""Rows by what they are of; members of an ensemble share a place."""


class _Records(NamedTuple):
    """What the store says: of runs with good rows, which must be told, and of others, which may be; and what
    it does not hold (or the data here do not let us know), by what it is of."""

    due: Rows
    more: Rows
    unread: dict[Place, str]


def _records(opened: Opened, rows: pd.DataFrame, name: str) -> _Records:
    done = set(rows.loc[rows["status"] == "ok", "run_key"])
    found = _Records({}, {}, {})
    for run, held in zip(opened.plan.runs, opened.held(), strict=True):
        planned = _planned(run, name)
        try:
            made = _told(held, name) if isinstance(held, Held) else []
        except ANYTHING as error:  # an artefact whole by its checksums may hold anything
            made, held = [], (run, reason_of(error))
        mine = _placed(made, name)
        why = (
            f"{run.title}: {held[1]}" if isinstance(held, tuple) else f"{run.title}: not all of it is stored"
        )
        found.unread.update(dict.fromkeys(planned - mine.keys(), why))
        into = found.due if run.key in done else found.more
        # of a member, the history is told once for all its ensembles
        into |= mine if name == "history" else {at: [*into.get(at, []), *each] for at, each in mine.items()}
    return found


def _told(held: Held, name: str) -> list[dict[str, Any]]:
    return held.timing() if name == "timing" else history(held.store, held.run)


def _planned(run: Run, name: str) -> set[Place]:
    """What a run may have rows of, whether it is stored or not."""
    if name == "history":
        epochs = range(run.recipe.epochs)
        rows: list[dict[str, Any]] = [
            {"run_key": s.key, **s.place, "epoch": epoch} for s in run.sources for epoch in epochs
        ]
        return set(_placed(rows, name))
    sets, labels = [*run.sets, *run.missing], [s.label for s in run.scorers]
    views = {v.label for s in run.scorers for v in (s.view, *(c.view for c in s.candidates)) if v is not None}
    stages: list[dict[str, Any]] = [{"stage": "train"}, *({"stage": "fit", "scorer": s} for s in labels)]
    stages += [{"stage": "score", "scorer": s, "ood": name} for s in labels for name in sets]
    stages += [{"stage": "extract", "scorer": v, "ood": name} for v in ("", *views) for name in sets]
    return set(_placed([{"run_key": run.key, **run.place, **stage} for stage in stages], name))


def _placed(rows: Iterable[Mapping[Any, Any]], name: str) -> Rows:
    found: Rows = {}
    for row in rows:
        found.setdefault(_place(row, name), []).append(row)
    return found


def _place(record: Mapping[Any, Any], name: str) -> Place:
    keys = [c for c in _COLUMNS[name] if c not in _VALUES[name]]
    return tuple(_said(record.get(k)) for k in keys)


def _said(value: Any) -> str:
    return "" if value is None or value != value else f"{value:g}" if isinstance(value, float) else str(value)


def _against(mine: Rows, records: _Records, name: str, *, merged: bool, partial: bool) -> Iterator[str]:
    """What a table says otherwise than the records. A merged one may have rows of one artefact from several
    machines, of which some are the store's."""
    known = {**records.more, **records.due}
    for at, recorded in records.due.items():
        if at not in mine:
            yield f"has no row of {_name(recorded[0])}"
    for at, found in mine.items():
        if at in known:
            yield from (_some if merged else _all)(found, known[at], name)
        elif at not in records.unread and not partial:
            yield f"has a row of {_name(found[0])}, which the store does not record"


def _some(found: Sequence[Mapping[Any, Any]], known: Sequence[Mapping[Any, Any]], name: str) -> Iterator[str]:
    for record in known:
        if all(any(_differences(row, record, name)) for row in found):
            yield next(_differences(found[0], record, name))


def _all(found: Sequence[Mapping[Any, Any]], known: Sequence[Mapping[Any, Any]], name: str) -> Iterator[str]:
    if len(found) != len(known):
        yield f"{_name(found[0])} stands {len(found)} times, the store recorded {len(known)}"
        return
    for row, record in zip(_sorted(found, name), _sorted(known, name), strict=True):
        yield from _differences(row, record, name)


def _sorted(rows: Sequence[Mapping[Any, Any]], name: str) -> Sequence[Mapping[Any, Any]]:
    return sorted(rows, key=lambda row: [text(number(row.get(c))) for c in _VALUES[name]])


def _differences(row: Mapping[Any, Any], record: Mapping[Any, Any], name: str) -> Iterator[str]:
    for column in _VALUES[name]:
        a, b = number(row[column]), number(record.get(column))
        if not np.isclose(a, b, rtol=1e-9, atol=0, equal_nan=True):
            yield f"{column} of {_name(row)} is {text(a)}, the store recorded {text(b)}"


def _name(row: Mapping[Any, Any]) -> str:
    stage = str(row.get("stage") or f"epoch {_said(row.get('epoch'))}")
    return f"{name_of(row)}, {stage}"
