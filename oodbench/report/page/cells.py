"""The JSON object behind the page: cells of the leaderboard with their intervals, trials and per-sample
views, ranks, costs, images.

Names are numbered and values stand in arrays, so that thousands of cells fit; `cells_of` reads them back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.evaluation.large import plain
from oodbench.evaluation.leaderboard import CELL, trials
from oodbench.evaluation.metrics.columns import (
    COLUMNS,
    EVERY,
    ID_ONLY,
    MORE_PER_SHIFT,
    MORE_PER_TRIAL,
    VALUES,
    in_percent,
    label,
    lower_is_better,
    values_for,
)
from oodbench.report.page import per_sample
from oodbench.report.page.details import details_of, rows_of
from oodbench.report.page.numbers import shortened
from oodbench.report.page.overview import cost_table, facts, ranks, scoring_seconds
from oodbench.report.page.per_sample import Pictures

if TYPE_CHECKING:
    import pandas as pd

MORE_VALUES = values_for((*MORE_PER_SHIFT, *MORE_PER_TRIAL))
KEYS = ("pair", "network", "method", "scorer", "tune", "condition", "id_set")
MOST_BYTES = 4_300_000
"""Of the page's data: beyond it the drill-down of the lowest-ranked cells is left out, so that the file stays
under 5 MB."""


RANKS_NOTE = (
    "1 is best. A block is one split of one pair, everything else averaged; names joined by a bar do not"
    " differ by Nemenyi's critical difference (CD) at 5 %. Splits of one pair share images, so their blocks"
    " are fewer than they look. The filters above do not change the ranks."
)
NO_SAMPLES = (
    "ROC and histogram are left out: the per-sample scores are not at hand, or there are more cells than fit"
    " this page."
)


def text(
    rows: pd.DataFrame,
    board: pd.DataFrame,
    samples: pd.DataFrame | None,
    costs: pd.DataFrame | None,
    pictures: Pictures | None,
) -> str:
    """The data as JSON that may stand inside a script element; `samples` in the compact form of `plots`."""
    per_trial = trials(rows, ("auroc", "id_accuracy"))
    whole, board = board, drawn(board)
    names = _Numbered()
    cells = [_dumps(c) for c in _cells(board, names, _reasons(rows))]
    head = _dumps({
        "names": names.list,
        **_columns(board),
        "ranks": ranks(per_trial),
        "ranks_note": RANKS_NOTE,
        **_of_samples(samples, pictures),
        "costs": cost_table(costs),
        "facts": [*facts(rows, whole), *_left_out(whole, board)],
        "no_samples": NO_SAMPLES,
    })  # fmt: skip
    budget = MOST_BYTES - len(head) - sum(map(len, cells))
    mine = rows if len(board) == len(whole) else rows_of(rows, board)
    _open(cells, budget, _opened(mine, board, per_trial, samples, costs))
    return _escaped(f'{head[:-1]},"cells":[{",".join(cells)}]}}')


FEW_CELLS = 2_000
"""So many fit whatever they hold."""


def drawn(board: pd.DataFrame) -> pd.DataFrame:
    """The cells of a leaderboard that its page draws: all, or, where they do not fit, the best of each board,
    as many as leave room for what some of them show when they are opened."""
    if len(board) <= FEW_CELLS:
        return board
    order = board["rank"].astype("Float64").to_numpy(dtype=float, na_value=np.inf).argsort(kind="stable")
    best = order[: MOST_BYTES // 200]  # no cell is shorter
    sizes = np.array([len(_dumps(cell)) for cell in _cells(board.iloc[best], _Numbered(), {})])
    if len(best) == len(board) and sizes.sum() < MOST_BYTES:
        return board
    n = int(np.searchsorted(sizes.cumsum(), MOST_BYTES / 2))
    return board.iloc[np.sort(order[:n])].reset_index(drop=True)


def _left_out(whole: pd.DataFrame, board: pd.DataFrame) -> list[list[str]]:
    if len(board) == len(whole):
        return []
    return [[f"{len(board):,}", "of them, the best of each board, are drawn here; leaderboard.csv has all"]]


def _columns(board: pd.DataFrame) -> dict[str, Any]:
    """The values that cells have, and what the page's script knows of each."""
    return {
        "main": _present(board, VALUES),
        "more": _present(board, MORE_VALUES),
        "metrics": [_metric(m) for m in EVERY if m not in ID_ONLY and _present(board, values_for([m]))],
        "id_metrics": [_metric(m) for m in _present(board, [m for m in EVERY if m in ID_ONLY])],
        "lower": sorted(c.name for c in COLUMNS if c.lower_is_better),
    }


def _of_samples(samples: pd.DataFrame | None, pictures: Pictures | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"trial": "", "als": [], "hard": []}
    if samples is not None:
        shown["trial"] = f"split {samples['split'].iloc[0]}, seed {samples['seed'].iloc[0]}"
        shown["als"] = per_sample.known_unknown(samples)
        shown["hard"] = per_sample.hardest(samples, pictures)
    return shown | {"rates": per_sample.RATES, "replicates": per_sample.REPLICATES}


def _opened(
    rows: pd.DataFrame,
    board: pd.DataFrame,
    per_trial: pd.DataFrame,
    samples: pd.DataFrame | None,
    costs: pd.DataFrame | None,
) -> Iterator[dict[str, Any]]:
    """What each cell shows when it is opened, in the order of the board."""
    found = per_sample.by_cell(samples) if samples is not None else {}
    seconds = scoring_seconds(costs)
    details = details_of(rows, board, per_trial)
    for record, detail in zip(board[list(KEYS)].itertuples(index=False), details, strict=True):
        pair, network, method, scorer, tune, condition, id_set = map(str, record)
        named = scorer if tune == "none" else f"{scorer} [{tune}]"
        mine = found.get((pair, network, method, named)) if (condition, id_set) == ("clean", "id") else None
        more = detail | {"cost": seconds.get((network, method, scorer, tune))}
        yield more | (per_sample.drill_down(mine) if mine is not None else {})


def _open(cells: list[str], budget: int, opened: Iterable[dict[str, Any]]) -> None:
    """Put what a cell shows when it is opened into its text, best ranks first, until so many bytes are
    spent."""
    for i, more in enumerate(opened):
        if budget < 0:
            return
        piece = _dumps({k: v for k, v in more.items() if v not in (None, [], {})})
        if len(piece) > 2:
            cells[i] = cells[i][:-1] + "," + piece[1:]
            budget -= len(piece)


def _dumps(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _escaped(data: str) -> str:
    """JSON that may stand inside a script element: nothing in it can close the element."""
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def cells_of(page: str) -> list[dict[str, Any]]:
    """The cells of a page, read back: their keys ``k`` by name, and their values ``v`` {column: [mean, std,
    low, high]}."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    data = json.loads(found[1]) if found else {"cells": []}
    for cell in data["cells"]:
        cell["k"] = dict(zip(KEYS, (data["names"][i] for i in cell["k"]), strict=True))
        values = dict(zip(data["main"], cell["v"], strict=True)) | {
            c: [v] for c, v in zip(data["more"], cell["m"], strict=True)
        }
        cell["v"] = {c: v for c, v in values.items() if v and v[0] is not None}
    return list(data["cells"])


class _Numbered:
    """Names in the order they come, each once."""

    def __init__(self) -> None:
        self.list: list[str] = []
        self._place: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        if name not in self._place:
            self._place[name] = len(self.list)
            self.list.append(name)
        return self._place[name]


def _present(board: pd.DataFrame, values: Iterable[str]) -> list[str]:
    """Those of some value columns of a leaderboard that hold anything."""
    return [c for c in values if c in board and bool(board[c].notna().any())]


def _metric(name: str) -> list[Any]:
    """What the page's script knows of a metric: name, label, is more better, is it in percent."""
    return [name, label(name), int(not lower_is_better(name)), int(in_percent(name))]


def _reasons(rows: pd.DataFrame) -> dict[Any, str]:
    """Why the first row of each cell that is not ok is not."""
    wrong = plain(rows.loc[rows["status"] != "ok", [*CELL, "reason"]])
    return wrong.drop_duplicates([*CELL]).set_index(list(CELL))["reason"].to_dict()


def _cells(board: pd.DataFrame, names: _Numbered, why: Mapping[Any, str]) -> list[dict[str, Any]]:
    """What every cell has: keys, rank, counts, and its values (those of `main` with std and interval)."""
    main, more = _present(board, VALUES), _present(board, MORE_VALUES)
    wide = shortened(board[[m + suffix for m in main for suffix in ("", "_std", "_low", "_high")]])
    means = shortened(board[more])
    counted = board[["n_trials", "n_splits", "n_failed", "n_skipped"]].to_numpy(dtype=int).tolist()
    places = shortened(board[["rank"]].astype("Float64"))
    cells = []
    for i, key in enumerate(board[list(CELL)].itertuples(index=False, name=None)):
        named = dict(zip(CELL, map(str, key), strict=True))
        n, splits, failed, skipped = counted[i]
        rank = places[i][0]
        cell: dict[str, Any] = {
            "k": [names(named[k]) for k in KEYS],
            "r": None if rank is None else int(rank),
            "n": n,
            "s": splits,
        }
        cell |= {
            name: value
            for name, value in (("f", failed), ("x", skipped), ("why", str(why.get(key, ""))[:300]))
            if value
        }
        cell["p"] = [names(_described(named[kind], named[f"{kind}_params"])) for kind in ("method", "scorer")]
        cell["v"] = [None if (v := wide[i][4 * j : 4 * j + 4])[0] is None else v for j in range(len(main))]
        cells.append(cell | {"m": means[i]})
    return cells


def _described(name: str, params: str) -> str:
    try:
        given = json.loads(params)
    except ValueError:
        given = {}
    inside = ", ".join(f"{k}={json.dumps(v)}" for k, v in given.items()) if isinstance(given, dict) else ""
    return f"{name}: {inside}" if inside else name
