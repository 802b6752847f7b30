"""From stored scores to the rows of results.csv."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from oodbench.core.spec import plain_value
from oodbench.evaluation import metrics
from oodbench.evaluation.rows import ROW_KEYS
from oodbench.runs.held import LazyOutputs, Stored
from oodbench.suite.run import Run, ScorerPlan
from oodbench.suite.sets import OOD_SHIFTS

if TYPE_CHECKING:
    import pandas as pd


def rows_of(
    run: Run, outputs: LazyOutputs, scores: Mapping[str, Mapping[str, Stored]], failed: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Result rows of one run: ID-only metrics, then one row per scorer and OOD set; skipped and failed ones
    with their reason."""
    rows: list[dict[str, Any]] = []
    ood = [s for s in run.sets.values() if s.shift in OOD_SHIFTS]
    missing = run.data.missing if run.data is not None else {}
    shifted = [s.name for s in run.sets.values() if s.shift == "shifted"]
    validated: dict[str, float] = {}
    if "val" in run.sets:  # what a choice between trained variants may look at
        of_val = outputs.of("val")
        quality_of_val = metrics.id_metrics(of_val.logits, of_val.labels)
        validated = {
            "val_accuracy": float((of_val.predictions == of_val.labels).float().mean()),
            "val_nll": quality_of_val["nll"],
        }
    described = {s.name: metrics.analysis(outputs.of(s.name).logits) for s in ood}
    # Who counts as ID: the clean test set; each covariate-shifted set by itself; all of them together
    # (full-spectrum).
    groups: list[tuple[str, str, list[str]]] = [
        ("clean", "id", ["test"]),
        *((name, "id", [name]) for name in shifted),
    ]
    if shifted:
        groups.append(("clean", "full", ["test", *shifted]))
    for condition, id_set, names in groups:
        where = {"condition": condition, "id_set": id_set}
        logits = torch.cat([outputs.of(n).logits for n in names])
        labels = torch.cat([outputs.of(n).labels for n in names])
        correct, quality, described_id = (
            logits.argmax(dim=1) == labels,
            metrics.id_metrics(logits, labels) | validated,
            metrics.analysis(logits),
        )
        rows.append(
            _row(
                run,
                None,
                where | {"n_id": len(labels)} | quality | {f"{k}_id": v for k, v in described_id.items()},
            )
        )
        for scorer in (s for s in run.scorers if not s.attack):
            reason = scorer.reason or failed.get(scorer.label, "")
            if reason:
                why = {"status": "skipped" if scorer.reason else "failed", "reason": reason}
                rows += [_row(run, scorer, where | {"ood": s.name, "shift": s.shift} | why) for s in ood]
                continue
            mine = scores[scorer.label]
            edited = [p for n in names if (p := mine[n].predictions) is not None]
            given: dict[str, Any] = {
                "id_scores": torch.cat([mine[n].scores for n in names]),
                "val_scores": mine["val"].scores if "val" in mine else None,
                "edited_correct": (torch.cat(edited) == labels) if edited else None, "id_correct": correct,
                "id_quality": quality,
                "id_analysis": described_id,
            }  # fmt: skip
            rows.append(_row(run, scorer, where | metrics.row_metrics(**given)))
            for s in ood:
                values = metrics.row_metrics(
                    **given, ood_scores=mine[s.name].scores, ood_analysis=described[s.name]
                )
                rows.append(_row(run, scorer, where | {"ood": s.name, "shift": s.shift} | values))
            for name, (shift, why_missing) in missing.items():
                gone = {
                    "ood": name,
                    "shift": shift,
                    "status": "skipped",
                    "reason": why_missing.splitlines()[0],
                }
                rows.append(_row(run, scorer, where | gone))
    return rows + _attack_rows(run, outputs, scores, failed)


def _attack_rows(
    run: Run, outputs: LazyOutputs, scores: Mapping[str, Mapping[str, Stored]], failed: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows of the conditions ``<attack> on OOD`` (OOD samples made to look known, ID clean) and ``<attack> on
    ID`` (ID samples made to look unknown, OOD clean); the accuracy under the latter is that of the network
    whose loss was attacked."""
    rows: list[dict[str, Any]] = []
    attacked = [s for s in run.scorers if s.attack]
    if not attacked:
        return rows
    plain = {
        s.spec.identity_key: s for s in run.scorers if not s.attack and s.tune == "none" and s.label in scores
    }
    ood = [s for s in run.sets.values() if s.shift in OOD_SHIFTS]
    labels, clean = outputs.of("test").labels, outputs.of("test").predictions
    under: dict[str, Any] = {}  # which samples stay right when the loss is attacked, by attack
    for s in attacked:
        if s.spec.params["of"] is None and s.label in scores:
            predictions = scores[s.label]["test"].predictions
            under[s.attack] = (predictions == labels) & (clean == labels) if predictions is not None else None
    for s in attacked:
        of = s.spec.params["of"]
        if of is None:
            continue
        base, on_id = plain.get(of.identity_key), s.spec.params["direction"] == "raise"
        where = {"condition": f"{s.attack} on {'ID' if on_id else 'OOD'}"}
        if base is None or s.label in failed:
            why = {"status": "failed", "reason": failed.get(s.label, "the scorer under attack failed")}
            rows += [_row(run, base or s, where | {"ood": o.name, "shift": o.shift} | why) for o in ood]
            continue
        mine, other = scores[s.label], scores[base.label]
        given: dict[str, Any] = {"id_scores": (mine if on_id else other)["test"].scores}
        given["id_correct"] = under.get(s.attack) if on_id else clean == labels
        rows.append(_row(run, base, where | metrics.row_metrics(**given)))
        for o in ood:
            values = metrics.row_metrics(**given, ood_scores=(other if on_id else mine)[o.name].scores)
            rows.append(_row(run, base, where | {"ood": o.name, "shift": o.shift} | values))
    return rows


def params_text(params: Mapping[str, Any]) -> str:
    """Parameters as the columns `*_params` hold them."""
    return json.dumps(plain_value(params), sort_keys=True)


def _row(run: Run, scorer: ScorerPlan | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """One row: who and where from the run and the scorer, everything else from `values`."""
    row: dict[str, Any] = {
        "suite": run.suite, "pair": run.pair.label, "pair_params": params_text(run.pair.params),
        "split": "" if run.pair.split is None else run.pair.split,
        "network": run.network.label if run.network else "", "method": run.method.label,
        "method_params": params_text(run.method.spec.params), "seed": run.seed,
        "scorer": scorer.declared.label if scorer else "",
        "scorer_params": params_text(scorer.declared.params) if scorer else "{}",
        "tune": scorer.tune if scorer else "none", "chosen": scorer.chosen if scorer else "",
        "condition": "clean",
        "id_set": "id", "ood": "", "shift": "none", "status": "ok", "reason": "", "run_key": run.key,
    }  # fmt: skip
    return row | dict(values)


def failed_rows(run: Run, reason: str) -> list[dict[str, Any]]:
    """The rows of a run that failed: one for ID alone and one for each scorer and OOD set, each with the
    first line of the reason."""
    why = {"status": "failed", "reason": reason.splitlines()[0]}
    ood = [s for s in run.sets.values() if s.shift in OOD_SHIFTS]
    rows = [_row(run, None, why)]
    return rows + [_row(run, s, why | {"ood": o.name, "shift": o.shift}) for s in run.scorers for o in ood]


def columns(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with exactly the columns of results.csv, in their order; keys are text, as they are
    when read back."""
    import pandas as pd

    text = [{**row, **{key: "" if row[key] is None else str(row[key]) for key in ROW_KEYS}} for row in rows]
    return pd.DataFrame(text, columns=[*ROW_KEYS, *metrics.METRICS])
