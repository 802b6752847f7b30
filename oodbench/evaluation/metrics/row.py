"""All numbers of one row in one pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from oodbench.core.errors import BadValue
from oodbench.evaluation.metrics.arrays import Array, ArrayLike, correct_array, scores_array
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.metrics.detection import detection_metrics, detection_of
from oodbench.evaluation.metrics.risk import oscr, risk_coverage


def row_metrics(
    *,
    id_scores: ArrayLike,
    ood_scores: ArrayLike | None = None,
    id_correct: ArrayLike | None = None,
    edited_correct: ArrayLike | None = None,
    val_scores: ArrayLike | None = None,
    id_quality: Mapping[str, float] | None = None,
    id_analysis: Mapping[str, float] | None = None,
    ood_analysis: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """The metrics of one row of results.csv.

    ``scod_*`` are `risk_coverage` on ID and OOD together, with loss 1/2 for an accepted OOD sample and 1/2
    for an accepted misclassified ID sample (Xia and Bouganis, ACCV 2022; as torch-uncertainty 0.13 defines
    it).

    Args:
        id_scores: (N,), higher = more OOD.
        ood_scores: (M,); None makes a row of ID alone.
        id_correct: (N,), whether the network's own prediction is right.
        edited_correct: (N,), the same of the network as the scorer edits it.
        val_scores: of ID validation samples. They alone choose the threshold of ``tpr95_in_val`` (share of ID
            test accepted) and ``fpr95_in_val`` (share of OOD accepted).
        id_quality: `id_metrics` of the ID test logits. It does not depend on the scorer: compute it once.
        id_analysis: `analysis` of the ID test logits.
        ood_analysis: `analysis` of the OOD logits.

    Returns:
        {column: value} in the order of METRICS; what is undefined or was not given is left out.

    Raises:
        ValueError: it says what is wrong with which.
    """
    inside = scores_array(id_scores, "ID scores")
    row: dict[str, float] = {}
    correct = None if id_correct is None else correct_array(id_correct, len(inside), "correct ID predictions")
    if correct is not None:
        row["id_accuracy"] = float(correct.mean())
    if edited_correct is not None:
        row["edited_accuracy"] = float(
            correct_array(edited_correct, len(inside), "correct predictions of the edited network").mean()
        )
    threshold = None
    if val_scores is not None:
        val = np.sort(scores_array(val_scores, "ID validation scores"))
        threshold = val[int(np.argmax(np.arange(1, len(val) + 1) / len(val) >= 0.95))]
        row["tpr95_in_val"] = float(np.mean(inside <= threshold))
    row |= {f"{name}_id": value for name, value in _named(id_analysis, "id_analysis").items()}
    if ood_scores is None:
        row |= {
            "n_id": len(inside),
            "n_ood": 0,
            "n_tied": int(len(inside) - _singles(inside)),
            **_named(id_quality, "id_quality"),
        }
        if correct is not None:
            row["aurc"], row["augrc"] = risk_coverage(inside, (~correct).astype(float))
            if 0 < correct.sum() < len(correct):
                row["auroc_misclassified"] = detection_metrics(inside[correct], inside[~correct])["auroc"]
        return _in_order(row)
    outside = scores_array(ood_scores, "OOD scores")
    row |= detection_of(inside, outside)
    if threshold is not None:
        row["fpr95_in_val"] = float(np.mean(outside <= threshold))
    if correct is not None:
        row["oscr"] = oscr(inside, outside, correct)
        losses = np.concatenate([(~correct) / 2, np.full(len(outside), 0.5)])
        row["scod_aurc"], row["scod_augrc"] = risk_coverage(np.concatenate([inside, outside]), losses)
    row |= {f"{name}_ood": value for name, value in _named(ood_analysis, "ood_analysis").items()}
    return _in_order(row)


def _named(values: Mapping[str, float] | None, name: str) -> Mapping[str, float]:
    if values is not None and not isinstance(values, Mapping):
        raise BadValue(f"{name}: should be {{metric: value}}, got {type(values).__name__}")
    return values or {}


def _singles(values: Array) -> int:
    return int(np.count_nonzero(np.unique(values, return_counts=True)[1] == 1))


def _in_order(row: Mapping[str, float]) -> dict[str, float]:
    return {name: row[name] for name in METRICS if name in row}
