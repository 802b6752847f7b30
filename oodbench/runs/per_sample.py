"""The per-sample files of a results folder: scores of each sample, small pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from oodbench.runs.held import LazyOutputs, Stored
from oodbench.suite.plan import Plan
from oodbench.suite.run import Run
from oodbench.suite.sets import OOD_SHIFTS


def samples_of(
    run: Run, outputs: LazyOutputs, scores: Mapping[str, Mapping[str, Stored]], most: int
) -> list[dict[str, Any]]:
    """Per-sample values for pictures: each scorer's scores, and maximal probability and logit, of ID test and
    OOD sets."""
    found: list[dict[str, Any]] = []
    common = {
        "pair": run.pair.label,
        "split": "" if run.pair.split is None else run.pair.split,
        "network": run.network.label if run.network else "",
        "method": run.method.label,
        "seed": run.seed,
    }
    for s in run.sets.values():
        if s.shift not in ("test", *OOD_SHIFTS):
            continue
        logits = outputs.of(s.name).logits
        keep = torch.linspace(0, len(logits) - 1, min(len(logits), most)).round().long()
        clean = [p.label for p in run.scorers if not p.attack and p.label in scores]
        values: dict[str, Tensor] = {label: scores[label][s.name].scores[keep] for label in clean}
        values["max_probability"] = torch.softmax(logits[keep].double(), dim=1).amax(dim=1)
        values["max_logit"] = logits[keep].amax(dim=1)
        place = {"ood": "" if s.shift == "test" else s.name, "shift": "id" if s.shift == "test" else s.shift}
        found += [
            common | place | {"scorer": label, "value": v.double().numpy(), "index": keep.numpy()}
            for label, v in values.items()
        ]
    return found


def pictures_of(plan: Plan) -> Callable[[str, str, str, Sequence[int]], list[Any]]:
    """The images of a pair's sets (ID test under ""), as the network sees them, for the page: (H, W, C)
    uint8."""
    runs = {
        (r.pair.label, "" if r.pair.split is None else str(r.pair.split)): r
        for r in plan.runs
        if r.data is not None
    }

    def read(pair: str, split: str, ood: str, indices: Sequence[int]) -> list[Any]:
        run = runs.get((pair, split))
        samples = run.sets[ood or "test"].samples if run is not None else None
        if run is None or run.data is None or samples is None or samples.kind != "image":
            return []
        images = samples.read(indices, run.data.geometry)
        if images.dtype != torch.uint8:
            images = (images * 255).round().clamp(0, 255).to(torch.uint8)
        return list(images.permute(0, 2, 3, 1).numpy())

    return read
