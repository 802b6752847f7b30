"""Two sets of results side by side: two results folders, a folder and a published table, or any two groups of
rows of one folder.

A published table is a CSV with one row per result. Columns: ``method`` (or ``training``) and ``scorer`` (or
``postprocessor``); optionally ``pair`` (or ``benchmark``) and ``network`` (or ``arch``); then any values of a
leaderboard, such as ``near_auroc``, ``far_auroc``, ``near_fpr95_in``, ``id_accuracy``, each with an optional
``<value>_std``. Fractions, or percent where a column exceeds 1. Other columns are left out. Names are matched
without case and punctuation, after the field's common synonyms."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.core.errors import UserError
from oodbench.evaluation import statistics
from oodbench.evaluation.large import chosen
from oodbench.evaluation.leaderboard import CELL, over_trials, trials
from oodbench.evaluation.metrics.arrays import Array
from oodbench.evaluation.metrics.columns import VALUES, in_percent, lower_is_better, of_network
from oodbench.evaluation.rows import read, where
from oodbench.evaluation.tables import AMOUNT, FINITE, PERCENT, published_numbers, read_published

if TYPE_CHECKING:
    import pandas as pd

MATCHED = ("method", "scorer")
"""What rows are matched by, besides pair, network and tuning regime where both groups name them alike."""
_SHARED = ("pair", "pair_params", "network", "tune")
_NAMES = {"benchmark": "pair", "training": "method", "postprocessor": "scorer", "arch": "network"}
_SYNONYMS = {
    "ce": "crossentropy", "baseline": "crossentropy", "ls": "labelsmoothing", "ebo": "energy",
    "maxlogit": "mls",
    "maximumsoftmaxprobability": "msp", "mahalanobis": "mds", "relativemahalanobis": "rmds",
    "klmatching": "klm",
    "temperature": "tempscale", "temperaturescaling": "tempscale",
}  # fmt: skip


def plain(name: str) -> str:
    """A name without case and punctuation, after synonyms: what rows are matched by. Parameters in
    parentheses stay as they are."""
    base, bracket, rest = str(name).lower().partition("(")
    bare = "".join(ch for ch in base if ch.isalnum())
    return _SYNONYMS.get(bare, bare) + bracket + rest.replace(" ", "")


def plain_key(key: str, name: str) -> str:
    """The same for one key of a row: a pair also goes by its name without OpenOOD's prefix, and with or
    without its suffix ``_ood``."""
    return plain(str(name).lower().removeprefix("openood-").removesuffix("_ood") if key == "pair" else name)


class Measured(NamedTuple):
    """One set's OOD scores (N,) in one trial: which samples (their digest), which shift (id, near, far), and
    the scores."""

    digest: str
    shift: str
    values: Array


PerSample = Callable[[Mapping[str, Any]], Mapping[tuple[str, str], Mapping[str, Measured]]]
"""Per-sample scores of one row of a leaderboard: {(split, seed): {OOD set, "" for ID test: Measured}}; empty
where the store has none."""


class Group(NamedTuple):
    """One group of a comparison: a leaderboard-like table, its trials where there are any, what to call it,
    and its per-sample scores (or why there are none)."""

    name: str
    board: pd.DataFrame
    trials: pd.DataFrame | None
    samples: PerSample | None = None
    why: str = ""
    place: Path | None = None
    """The folder that the rows come from; None for a published table."""

    @property
    def published(self) -> bool:
        return self.trials is None


def is_folder(path: Path) -> bool:
    """Whether a path means results of ours, not a published table."""
    return path.is_dir() or path.name in ("results.csv", "results.csv.gz")


def load(path: Path, conditions: Sequence[str] = (), option: str = "--where") -> Group:
    """A results folder (or its results.csv), or a published table, and of it the rows that meet the
    conditions."""
    if is_folder(path):
        rows = where(read([path]), conditions, option=option)
        plain_cells = (rows["condition"] == "clean") & (rows["id_set"] == "id")
        rows = chosen(rows, plain_cells.to_numpy())
        place = (path if path.is_dir() else path.parent).resolve()
        return Group(place.name, over_trials(rows), trials(rows), place=place)
    table = read_published(path)
    table = where(table, conditions, keys=tuple(table.columns), option=option).rename(columns=_NAMES)
    values = [c for c in VALUES if c in table]
    missing = [c for c in ("method", "scorer") if c not in table]
    if missing or not values:
        lacks = f"the column {missing[0]!r}" if missing else "every value, such as near_auroc"
        raise UserError(f"{path}: not a table of published results: it lacks {lacks}")
    twice = next((c for c in table if list(table).count(c) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: two columns mean {twice!r}; keep one of them")
    for value in values:
        percent = in_percent(value)
        table[value] = published_numbers(path, table[value], PERCENT if percent else FINITE)
        if f"{value}_std" in table:
            spread = table[f"{value}_std"]
            table[f"{value}_std"] = published_numbers(path, spread, PERCENT if percent else AMOUNT)
    return published(path.stem, table)


def published(name: str, table: pd.DataFrame) -> Group:
    """A table of published values as a group: columns method, scorer, maybe pair and network, and numbers
    with or without their std; fractions, or percent where a column exceeds 1."""
    table = table.copy()
    for value in [c for c in VALUES if c in table]:
        columns = [c for c in (value, f"{value}_std") if c in table]
        if in_percent(value) and float(table[value].max()) > 1:
            table[columns] = table[columns] / 100
        if f"{value}_std" not in table:
            table[f"{value}_std"] = np.nan
    keys = {
        c: table[c].fillna("").astype(str) if c in table else ""
        for c in ("pair", "network", "method", "scorer")
    }
    return Group(name, table.assign(**keys).reset_index(drop=True), None)


class Difference(NamedTuple):
    """A - B of one value: its 95 % interval, how many units it rests on and what they are, p values, and
    units won, tied and lost by A.

    `p` is of the paired t test over units (Welch's where B is published), `p_holm` its adjustment within the
    matched rows of one value, `p_wilcoxon` is given from six units on, `p_sign` is of the sign test over
    units."""

    value: float
    low: float
    high: float
    n: int
    unit: str
    p: float
    p_holm: float
    p_wilcoxon: float
    p_sign: float
    wins: int
    ties: int
    losses: int


class Match(NamedTuple):
    """A row of A, the row of B it is compared with, and for each value the difference A - B."""

    a: dict[str, Any]
    b: dict[str, Any]
    differences: dict[str, Difference]


def between(
    a: Group, b: Group, values: Sequence[str], *, by: Sequence[str] = MATCHED, runs: int = 3
) -> list[Match]:
    """Match rows that agree in `by` (and in pair, network and tuning where both groups name the same) and
    compare their values.

    Our own rows are compared paired, over the splits (or, with one split, the seeds) that both have; a
    published table by Welch's interval from its std, taken over `runs` runs. One trial gives a difference and
    no interval."""
    shared = [k for k in _SHARED if k in b.board and _plain_set(a, k) & _plain_set(b, k) - {""}]
    keys = [*shared, *(k for k in by if k not in shared)]
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in b.board.to_dict("records"):
        found.setdefault(tuple(plain_key(k, row[k]) for k in keys), []).append(
            {str(k): v for k, v in row.items()}
        )
    if "pair" not in shared and b.board["pair"].nunique() > 1:
        there = ", ".join(dict.fromkeys(map(str, b.board["pair"])))
        raise UserError(
            f"{b.name} holds several benchmarks and none is called as ours; choose with --where-b"
            f" 'benchmark=...': {there}"
        )
    matches = []
    for row in a.board.to_dict("records"):
        mine = {str(k): v for k, v in row.items()}
        for other in found.get(tuple(plain_key(k, mine[k]) for k in keys), []):
            if (
                a.place is not None
                and a.place == b.place
                and all(str(mine[k]) == str(other[k]) for k in CELL if k in other)
            ):
                continue  # a row against itself, where two groups of one folder overlap
            differences = {
                v: _difference(a, b, mine, other, v, runs) for v in values if v in mine and v in other
            }
            matches.append(Match(mine, other, differences))
    for value in values:  # one family: the different comparisons of one value
        held = once(matches, value)
        for group, p in zip(held, statistics.holm([g[0].differences[value].p for g in held]), strict=True):
            for m in group:
                m.differences[value] = m.differences[value]._replace(p_holm=float(p))
    return matches


def once(matches: Sequence[Match], value: str) -> list[list[Match]]:
    """Matches with a value, those together that compare the same two numbers: what belongs to the network
    alone stands in the row of every scorer, and is one comparison."""
    groups: dict[Any, list[Match]] = {}
    for i, m in enumerate(matches):
        if value in m.differences and m.differences[value].value == m.differences[value].value:
            networks = tuple(
                str(r.get(k, ""))
                for r in (m.a, m.b)
                for k in ("pair", "pair_params", "network", "method", "method_params")
            )
            groups.setdefault(
                (networks, float(m.a[value]), float(m.b[value])) if of_network(value) else i, []
            ).append(m)
    return list(groups.values())


def _plain_set(group: Group, key: str) -> set[str]:
    return {plain_key(key, name) for name in group.board[key]}


def _difference(
    a: Group, b: Group, mine: dict[str, Any], other: dict[str, Any], value: str, runs: int
) -> Difference:
    lower = lower_is_better(value)
    if a.trials is not None and b.trials is not None:
        d = statistics.paired_trials(
            _trials(a.trials, mine), _trials(b.trials, other), value, lower_is_better=lower
        )
        if d.n:
            tests = (d.p, d.p, d.p_wilcoxon, d.p_sign)
            return Difference(d.difference, d.low, d.high, d.n, d.unit, *tests, d.wins, d.ties, d.losses)
    w = statistics.welch(_summary_of(mine, value, runs), _summary_of(other, value, runs))
    nan = statistics.NAN
    return Difference(w.value, w.low, w.high, w.n, "", w.p, w.p, nan, nan, 0, 0, 0)


def _trials(of: pd.DataFrame, row: Mapping[str, Any]) -> pd.DataFrame:
    for key in CELL:
        of = of[of[key] == row[key]]
    return of


def _summary_of(row: Mapping[str, Any], value: str, runs: int) -> tuple[float, float, int]:
    """Mean, std and number of independent units: splits where there are several, else trials; a published
    value rests on `runs`."""
    if row.get("unit") == "split":
        return float(row[value]), float(row[f"{value}_split_std"]), int(row["n_splits"])
    return float(row[value]), float(row[f"{value}_std"]), int(row["n_trials"]) if "n_trials" in row else runs


def known(values: Sequence[str]) -> Sequence[str]:
    """The values to compare, each a column of a leaderboard."""
    for value in values:
        if value not in VALUES:
            raise UserError(f"--values: {value!r} is no value of a leaderboard; allowed: {', '.join(VALUES)}")
    return values


def groups(
    a: Path, b: Path | None, conditions: Sequence[str], conditions_b: Sequence[str]
) -> tuple[Group, Group]:
    """The two groups that a command line names: B is another folder, a published table, or a group of A's
    rows. Two folders of one name are told apart by the ends of their paths."""
    first, second = load(a, conditions), load(b or a, conditions_b, "--where-b")
    if first.place is None or second.place is None or first.place == second.place:
        return first, second
    n = 1
    while first.place.parts[-n:] == second.place.parts[-n:]:
        n += 1
    names = ("/".join(p.parts[-n:]) for p in (first.place, second.place))
    return first._replace(name=next(names)), second._replace(name=next(names))


def matched_by(b: Path | None, conditions_b: Sequence[str]) -> tuple[str, ...]:
    """What rows are matched by unless told: method and scorer; within one folder without those by which the
    two groups were chosen."""
    chosen = {re.split(r"!?=", c, maxsplit=1)[0].strip() for c in conditions_b} if b is None else set()
    return tuple(k for k in MATCHED if k not in chosen)
