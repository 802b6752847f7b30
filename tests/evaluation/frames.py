"""Rows and samples as a run writes them, small and made up, for tests of what reads them."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.rows import ROW_KEYS

SETS = {"unknown": "near", "cousins": "near", "noise": "far"}


def make_rows(
    methods: tuple[str, ...] = ("ce", "als"),
    scorers: tuple[str, ...] = ("msp", "knn"),
    splits: int = 3,
    seeds: int = 2,
    pair: str = "p",
) -> pd.DataFrame:
    """Rows as a run writes them: one for the network, one per scorer on ID alone and one per OOD set."""
    r = np.random.default_rng(0)
    rows = []
    for method, split, seed in itertools.product(methods, range(splits), range(seeds)):
        common = dict.fromkeys(ROW_KEYS, "") | {
            "suite": "s", "pair": pair, "pair_params": "{}", "split": str(split), "network": "mlp",
            "method": method, "method_params": "{}",
            "seed": str(seed), "scorer_params": "{}", "tune": "none", "condition": "clean", "id_set": "id",
            "shift": "none", "status": "ok",
        }  # fmt: skip
        rows.append(common | {"id_accuracy": r.random(), "ece": r.random()})
        for scorer in scorers:
            mine = common | {"scorer": scorer}
            rows.append(mine | {"id_accuracy": r.random(), "ece": r.random(), "n_id": 10})
            rows += [
                mine | {"ood": o, "shift": s, "auroc": r.random(), "fpr95_in": r.random(), "n_ood": 5}
                for o, s in SETS.items()
            ]
    return pd.DataFrame(rows, columns=[*ROW_KEYS, *METRICS])


def make_samples(rows: pd.DataFrame, n: int = 60) -> pd.DataFrame:
    """Per-sample values as a run hands them over."""
    r = np.random.default_rng(0)
    runs = rows[["pair", "split", "network", "method", "seed"]].drop_duplicates().to_dict("records")
    found = []
    for run in runs:
        for scorer in ("msp", "knn", "max_probability", "max_logit"):
            for ood, shift, mean in (
                ("", "id", 0.0),
                ("unknown", "near", 1.0),
                ("cousins", "near", 1.5),
                ("noise", "far", 3.0),
            ):
                values = r.normal(mean, 1, n)
                if scorer == "max_probability":
                    values = 1 / (1 + np.exp(values - 2))
                found.append(run | {"scorer": scorer, "ood": ood, "shift": shift, "value": values})
    return pd.DataFrame(found)
