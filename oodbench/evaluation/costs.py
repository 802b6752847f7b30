"""What results cost, from timing.csv: seconds and bytes as recorded when each artefact was made, medians over
trials; and what a scorer and a method may look at."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.spec import spec_of
from oodbench.evaluation.rows import table

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("network", "method", "scorer", "tune")
SPENT = ("train_seconds", "fit_seconds", "score_seconds_per_1000", "passes", "bytes_stored", "reads")
COLUMNS = (*KEYS, *SPENT)
"""train_seconds: of the network. fit_seconds and score_seconds_per_1000: of the scorer. passes: extraction of
a sample as this scorer needs it, in plain forward passes of the same network (1: none beyond the one that all
share; else measured by the clock, its view included). bytes_stored: weights, and outputs of training data and
of views that this scorer reads beyond the plain outputs of the sets it scores. reads: what it may look at
besides test samples: train, val, noise (made), ood-val, outliers (by the method)."""


def of_rows(rows: pd.DataFrame, timing: pd.DataFrame) -> pd.DataFrame:
    """One row per network, method and scorer, the columns COLUMNS; what the timing does not tell is NaN."""
    import pandas as pd

    t = timing.assign(**{c: pd.to_numeric(timing[c]) for c in ("n", "seconds", "bytes")}).fillna(
        {"scorer": "", "network": "", "ood": ""}
    )
    if "ood" not in t:
        t["ood"] = ""
    run, keys = ["network", "method"], ["network", "method", "scorer"]
    train = t[t["stage"] == "train"].groupby(run, sort=False)[["seconds", "bytes"]].median()
    fit = t[t["stage"] == "fit"].groupby(keys, sort=False)["seconds"].median()
    scored = t[t["stage"] == "score"].groupby([*keys, "run_key"], sort=False)[["seconds", "n"]].sum()
    score = (1000 * scored["seconds"] / scored["n"].where(scored["n"] > 0)).groupby(keys, sort=False).median()
    extracted = t[t["stage"] == "extract"]
    speed = (
        extracted[extracted["ood"] != "train"].groupby([*keys, "run_key"], sort=False)[["seconds", "n"]].sum()
    )
    per_sample = (speed["seconds"] / speed["n"].where(speed["n"] > 0)).groupby(keys, sort=False).median()
    of_view = (
        extracted.groupby([*keys, "run_key"], sort=False)["bytes"].sum().groupby(keys, sort=False).median()
    )
    of_train = (
        extracted[(extracted["ood"] == "train") & (extracted["scorer"] == "")]
        .groupby(run, sort=False)["bytes"]
        .median()
    )

    made = []
    cells = rows[rows["scorer"] != ""].drop_duplicates([*KEYS])
    for row in cells.to_dict("records"):
        n, m, s, tune = (str(row[k]) for k in KEYS)
        name = s if tune == "none" else f"{s} [{tune}]"
        needs, view = _scorer(s, str(row["scorer_params"]))
        plain, more = (
            per_sample.get((n, m, ""), np.nan),
            per_sample.get((n, m, view), np.nan) if view else 0.0,
        )
        size = _at(train["bytes"], (n, m)) + (of_view.get((n, m, view), np.nan) if view else 0.0)
        size += _at(of_train, (n, m)) if "train" in needs else 0.0
        reads = [
            *(r for r in ("train", "val") if r in needs),
            *([tune] if tune in ("noise", "ood-val") else []),
        ]
        reads += ["outliers"] if "outliers" in _method(m, str(row["method_params"])) else []
        made.append({
            "network": n, "method": m, "scorer": s, "tune": tune,
            "train_seconds": _at(train["seconds"], (n, m)),
            "fit_seconds": fit.get((n, m, name), np.nan),
            "score_seconds_per_1000": score.get((n, m, name), np.nan),
            "passes": 1.0 if not view else 1 + more / plain, "bytes_stored": size, "reads": ", ".join(reads),
        })  # fmt: skip
    return pd.DataFrame(made, columns=list(COLUMNS))


def join(board: pd.DataFrame, rows: pd.DataFrame, folders: Iterable[Path]) -> pd.DataFrame:
    """A leaderboard with the cost columns, from the timing.csv of results folders; UserError where there is
    none."""
    import pandas as pd

    places = [f if f.is_dir() else f.parent for f in folders]
    there = [pd.read_csv(f, keep_default_na=False) for p in places if (f := table(p, "timing")) is not None]
    if not there:
        raise UserError(f"{places[0]}: holds no timing.csv, which a run writes and costs are read from")
    return board.merge(of_rows(rows, pd.concat(there, ignore_index=True)), on=list(KEYS), how="left")


def _at(values: pd.Series[Any], key: Any) -> float:
    return float(values.get(key, np.nan))


def _built(kind: str, label: str, params: str) -> Any:
    """The component of a row, or None where this process does not know it (a plugin, a name given by
    `as:`)."""
    name = label.partition("(")[0]
    try:
        return registry.build(kind, {name: json.loads(params)})
    except (UserError, ValueError, KeyError, TypeError, OSError):
        return None


@lru_cache(maxsize=512)
def _scorer(label: str, params: str) -> tuple[Iterable[str], str]:
    """What a scorer needs, and the label of the view it reads (empty: none)."""
    scorer = _built("scorer", label, params)
    view = scorer.view() if scorer is not None else None
    return (scorer.needs if scorer is not None else ()), ("" if view is None else spec_of(view).label)


@lru_cache(maxsize=512)
def _method(label: str, params: str) -> Iterable[str]:
    method = _built("method", label, params)
    return method.needs if method is not None else ()
