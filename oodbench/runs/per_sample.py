"""What pictures and pages show of single samples: their scores, and small pictures of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from oodbench.runs.held import Held
from oodbench.suite.plan import Plan
from oodbench.suite.run import TrainedRun
from oodbench.suite.sets import OOD_SHIFTS

DRAWN = 2_000
"""Pictures and pages draw at most so many evenly spaced samples of each set; metrics always use all."""


def samples_of(held: Held, most: int) -> list[dict[str, Any]]:
    """Per-sample values for pictures: each scorer's scores, and maximal probability and logit, of ID test and
    OOD sets."""
    run, outputs, scores = held.run, held.outputs, held.scores
    found: list[dict[str, Any]] = []
    for s in run.sets.values():
        if s.role not in ("test", *OOD_SHIFTS) or held.why("", [s.name]):
            continue
        logits = outputs.of(s.name).logits
        keep = torch.linspace(0, len(logits) - 1, min(len(logits), most)).round().long()
        clean = [p.label for p in run.scorers if not p.attack and s.name in scores.get(p.label, {})]
        values: dict[str, Tensor] = {label: scores[label][s.name].scores[keep] for label in clean}
        values["max_probability"] = torch.softmax(logits[keep].double(), dim=1).amax(dim=1)
        values["max_logit"] = logits[keep].amax(dim=1)
        index = keep.numpy()  # one array for all of them: pickled once where an answer travels
        place = {"ood": "" if s.role == "test" else s.name, "shift": "id" if s.role == "test" else s.role}
        found += [
            run.place | place | {"scorer": label, "value": v.double().numpy(), "index": index}
            for label, v in values.items()
        ]
    return found


def pictures_of(plan: Plan) -> Callable[[str, str, str, Sequence[int]], list[Any]]:
    """The images of a pair's sets (ID test under ""), as the network sees them, for the page: (H, W, C)
    uint8."""
    runs = {(str(r.place["pair"]), str(r.place["split"])): r for r in plan.runs if isinstance(r, TrainedRun)}

    def read(pair: str, split: str, ood: str, indices: Sequence[int]) -> list[Any]:
        run = runs.get((pair, split))
        samples = run.sets[ood or "test"].samples if run is not None else None
        if run is None or samples is None or samples.kind != "image":
            return []
        images = samples.read(indices, run.geometry)
        if images.dtype != torch.uint8:
            images = (images * 255).round().clamp(0, 255).to(torch.uint8)
        return list(images.permute(0, 2, 3, 1).numpy())

    return read
