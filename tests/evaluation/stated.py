"""Claims and rows with a known difference, for tests of verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from oodbench.evaluation.claims import Claim, Side
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.rows import ROW_KEYS

SUITE = """\
name: stated
pairs: [{digits: {split: {grid: [0, 1]}}}]
networks: [{mlp: {hidden: [8]}}]
methods: [cross-entropy, {label-smoothing: {epsilon: {grid: [0.1, 0.3]}}}]
scorers: [msp, mls]
recipe: {epochs: 1, lr: 0.05}
claims:
  - {id: one, says: It is lower., compare: ['label-smoothing(epsilon=0.3)', cross-entropy],
     metric: max_logit_id, expect: lower}
  - id: two
    says: The best label smoothing is near it.
    basis: inferred
    compare: [{label-smoothing: {select: val_accuracy}}, {method: cross-entropy, scorer: mls}]
    shift: any
    expect: {equal-within: 0.5}
"""


FAMILIES = {"a": "a", "b": "b"}


def claim_of(expect: str = "lower", scorers: tuple[str, ...] = ("s0",), **more: Any) -> Claim:
    return Claim(
        id="c",
        says="A differs from B.",
        compare=(Side(method="a"), Side(method="b")),
        expect=expect,
        scorers=scorers,
        **more,
    )  # type: ignore[arg-type]


def rows_of(differences: np.ndarray, noise: np.ndarray | None = None, **keys: Any) -> pd.DataFrame:
    """Rows in which method a's AUROC is above b's by `differences` (split, seed, scorer); `noise` is common
    to both."""
    found = []
    common = dict.fromkeys(ROW_KEYS, "") | {
        "suite": "s", "pair": "p", "pair_params": "{}", "network": "n", "method_params": "{}",
        "scorer_params": "{}", "tune": "none",
        "condition": "clean", "id_set": "id", "shift": "near", "ood": "o", "status": "ok",
    } | keys  # fmt: skip
    for (split, seed, scorer), d in np.ndenumerate(differences):
        level = 0.7 + (0.0 if noise is None else noise[split, seed, scorer])
        for method, value in (("a", level + d), ("b", level)):
            trial = {"split": str(split), "seed": str(seed), "scorer": f"s{scorer}", "method": method}
            found.append(common | trial | {"auroc": value})
            found.append(
                common | trial | {"ood": "", "shift": "none", "id_accuracy": value, "val_accuracy": value}
            )
    return pd.DataFrame(found, columns=[*ROW_KEYS, *METRICS])
