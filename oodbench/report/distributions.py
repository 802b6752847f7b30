"""Scores of many trials as densities and ROC curves on common edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.evaluation.metrics.arrays import Array
from oodbench.evaluation.metrics.detection import counts

if TYPE_CHECKING:
    import pandas as pd


QUANTITY = {"max_probability": "maximal probability", "max_logit": "maximal logit"}


def pooled(samples: pd.DataFrame, shift: str) -> Array:
    """All values of one shift, every set and trial in `samples`, as one array (maybe empty)."""
    arrays = [
        np.asarray(v, dtype=float)
        for s, v in zip(samples["shift"], samples["value"], strict=True)
        if s == shift
    ]
    return np.concatenate(arrays) if arrays else np.empty(0)


def bin_edges(values: Array, bins: int, trim: float = 0.005) -> Array:
    """Bin edges over the bulk of the values, the outermost left out: scores with one wild outlier would
    otherwise fill one bin."""
    low, high = (float(np.quantile(values, q)) for q in (trim, 1 - trim)) if len(values) else (0.0, 1.0)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def quantity_edges(quantity: str, values: Array, bins: int) -> Array:
    """Bin edges for maximal probability (up to 1) or maximal logit."""
    return (
        np.linspace(min(values.min(), 1.0 - 1e-6), 1, bins + 1)
        if quantity == "max_probability"
        else bin_edges(values, bins, 0.0005)
    )


def roc_curve(inside: Array, outside: Array) -> tuple[Array, Array]:
    """False and true positive rates (OOD positive) at every distinct score, from (0, 0) to (1, 1)."""
    c = counts(inside, outside)
    rejected_id, rejected_ood = 1 - c.id[::-1] / c.id[-1], 1 - c.ood[::-1] / c.ood[-1]
    return np.append(rejected_id, 1.0), np.append(rejected_ood, 1.0)


def rocs(samples: pd.DataFrame, at: Array) -> dict[tuple[str, str], list[tuple[Array, float]]]:
    """Of one method and scorer: {(shift, set): [(true positive rates at the false positive rates `at`, exact
    area) of each trial]}."""
    columns = [samples[c] for c in ("split", "seed", "shift", "ood", "value")]
    inside = {
        (split, seed): np.asarray(v, dtype=float)
        for split, seed, shift, _, v in zip(*columns, strict=True)
        if shift == "id"
    }
    found: dict[tuple[str, str], list[tuple[Array, float]]] = {}
    for split, seed, shift, ood, value in zip(*columns, strict=True):
        known = inside.get((split, seed))
        if shift == "id" or known is None or not len(known) or not len(value):
            continue
        fpr, tpr = roc_curve(known, np.asarray(value, dtype=float))
        area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))
        found.setdefault((str(shift), str(ood)), []).append((np.interp(at, fpr, tpr), area))
    return found


def compact(samples: pd.DataFrame) -> pd.DataFrame:
    """One row per run, scorer and set with an array as its `value` (and `index`), from that or from one row
    per sample; keys as text."""
    keys = [
        c for c in ("pair", "split", "network", "method", "seed", "scorer", "ood", "shift") if c in samples
    ]
    if samples.empty:
        return samples
    table = samples
    if np.ndim(samples["value"].iloc[0]) == 0:
        groups = samples.groupby(keys, sort=False, dropna=False)
        arrays: Any = {
            c: [values.to_numpy() for _, values in groups[c]] for c in ("value", "index") if c in samples
        }
        table = samples.loc[~samples.duplicated(keys), keys].reset_index(drop=True)
        for name, values in arrays.items():
            table[name] = values
    text = {c: table[c].astype(object).where(table[c].notna(), "").map(str) for c in keys}
    return table.assign(**text)
