"""Choosing a scorer's parameters without test data: what is chosen between, on what, and by which measure.

Regimes: ``id`` sees ID validation alone, ``noise`` images made from it, ``ood-val`` the pair's OOD validation
set. What is chosen between is the scorer's own search space, the suite's, or OpenOOD's
(`scoring.openood_search`). The choice is the candidate of the highest AUROC there; on a tie the earlier one,
and the declared parameters stand first, save in OpenOOD's space, which holds its own points alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.errors import SpecError, UserError
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.core.spec import Spec, plain_value
from oodbench.evaluation.metrics.detection import detection_metrics
from oodbench.scoring import openood_search
from oodbench.scoring.score import score_sets

REGIMES = ("none", "id", "noise", "ood-val")
SPACES = ("own", "openood")
"""What a regime searches: the scorer's own space (or the one that the suite gives it), or OpenOOD's."""
_ERRORS = 10
"""So many wrong (and right) predictions on ID validation are needed for an AUROC between them to guide a
choice."""
_FOLDS = 3


class Choice(NamedTuple):
    """What was chosen (its place among the candidates), by which measure, and the AUROC of every candidate
    (NaN: it failed)."""

    place: int
    objective: str
    auroc: tuple[float, ...]


class Regime(NamedTuple):
    """What parameters are chosen on, and from which space."""

    name: str
    space: str = "own"

    @classmethod
    def of(cls, label: str) -> Regime:
        """The regime that a row's column `tune` says."""
        name, _, space = label.partition(":")
        return cls(name, space or "own")

    @property
    def label(self) -> str:
        """As rows say it: ``ood-val``, ``ood-val:openood``."""
        return self.name if self.space == "own" else f"{self.name}:{self.space}"


Space = Mapping[str, Sequence[Any]]
"""Parameter -> the values that are tried."""


def candidates(
    spec: Spec, scorer: Scorer, *, space: str = "own", search: Space | None = None
) -> tuple[Spec, ...]:
    """What is chosen between; nothing where there is nothing to choose.

    Points whose values are each allowed but not together (a lower percentile above the upper one) are left
    out. A parameter that was set away from its default is kept, unless `search` names it.

    Args:
        spec: as the suite declares it.
        scorer: built from it.
        space: one of SPACES. ``own``: the declared spec, then every other point, the last parameter varying
            fastest. ``openood``: the points of OpenOOD's grid alone, in its order, the first parameter
            varying fastest; the declared spec is none of them unless it stands there.
        search: the suite's own space, in the place of the scorer's.
    """
    defaults = spec.component.defaults
    left = {k for k, v in spec.params.items() if v == defaults.get(k)}
    if space == "openood":
        theirs = openood_search.POINTS.get(spec.name, ())
        points = [{k: v for k, v in point.items() if k in left} for point in theirs]
        return _built(spec, [p for p in points if p], [])
    free = search if search is not None else {k: v for k, v in scorer.search.items() if k in left}
    grid = itertools.product(*free.values()) if free else ()
    return _built(spec, [dict(zip(free, values, strict=True)) for values in grid], [spec])


def _built(spec: Spec, points: Sequence[Mapping[str, Any]], made: list[Spec]) -> tuple[Spec, ...]:
    """The points that can be built, each once, after those that are `made` already; none where there are no
    points."""
    for changes in points:
        try:
            point = registry.resolve(spec.kind, {spec.name: {**spec.params, **changes}})
        except SpecError as error:
            raise UserError(
                f"scorer {spec.name!r}: its search space holds a value that it refuses: {error}"
            ) from None
        if point.params not in [m.params for m in made] and _can_be_built(point):
            made.append(point)
    return tuple(made) if points else ()


def _can_be_built(spec: Spec) -> bool:
    try:
        registry.build(spec.kind, spec)
    except UserError:
        return False
    return True


def choose(
    specs: Sequence[Spec], train: Sequence[Outputs | None], val: Sequence[Outputs],
    ood: Sequence[Outputs] | None, *, device: str = "cpu"
) -> Choice:  # fmt: skip
    """The best of `specs`, whose outputs (with the extras of each one's own view) stand in the same order.

    With `ood` by the AUROC of ID validation against it; without, by `errors` (wrong against right predictions
    on ID validation) where there are enough of both, else by `held-out classes` (a third of the classes at a
    time, left out of the fit and of the logits)."""
    if ood is not None:
        found = [_auroc(s, t, v, o, None, device) for s, t, v, o in zip(specs, train, val, ood, strict=True)]
        return _best(found, "ood")
    wrong = val[0].predictions != val[0].labels
    if min(int(wrong.sum()), int((~wrong).sum())) >= _ERRORS:
        return _best(
            [_auroc(s, t, v, v, wrong, device) for s, t, v in zip(specs, train, val, strict=True)], "errors"
        )
    if val[0].classes < 4:
        return Choice(0, f"none: {int(wrong.sum())} errors and {val[0].classes} classes are too few", ())
    if any(v.extras for v in val):
        return Choice(
            0, f"none: {int(wrong.sum())} errors are too few, and a view's extras know all classes", ()
        )
    scores: list[list[float]] = [[] for _ in specs]
    for fold in range(_FOLDS):
        kept = torch.tensor([c for c in range(val[0].classes) if c % _FOLDS != fold])
        for i, (s, t, v) in enumerate(zip(specs, train, val, strict=True)):
            inside, outside = _of_classes(v, kept, True), _of_classes(v, kept, False)
            scores[i].append(
                _auroc(s, None if t is None else _of_classes(t, kept, True), inside, outside, None, device)
            )
    return _best([sum(s) / len(s) for s in scores], "held-out classes")


def _best(auroc: list[float], objective: str) -> Choice:
    known = [i for i, a in enumerate(auroc) if a == a]
    if not known:
        return Choice(0, f"none: no candidate could be scored by {objective}", tuple(auroc))
    return Choice(max(known, key=lambda i: (auroc[i], -i)), objective, tuple(auroc))


def _auroc(
    spec: Spec, train: Outputs | None, val: Outputs, other: Outputs, among: Tensor | None, device: str
) -> float:
    """AUROC of `other` against `val`, or of the samples `among` val against the rest; NaN where the scorer
    fails."""
    scored = score_sets(
        {"one": registry.build("scorer", spec)}, train, val, {"val": val, "other": other}, device=device
    )["one"].sets
    inside, outside = scored["val"].scores, scored["other"].scores
    if inside is None or outside is None:
        return float("nan")
    if among is not None:
        inside, outside = inside[~among], inside[among]
    return detection_metrics(inside.numpy(), outside.numpy())["auroc"]


def _of_classes(outputs: Outputs, kept: Tensor, inside: bool) -> Outputs:
    """Samples of the `kept` classes (or of the others), through the network as if it knew only those: logits
    and head without the rest."""
    place = torch.full((outputs.classes,), -1)
    place[kept] = torch.arange(len(kept))
    labels = torch.where(outputs.labels >= 0, place[outputs.labels.clamp(min=0)], -1)
    rows = torch.nonzero((labels >= 0) == inside).flatten()
    head = None if outputs.head is None else Head(outputs.head.weight[kept], outputs.head.bias[kept])
    features = outputs.features[rows] if outputs.has_features else None
    return Outputs(outputs.logits[rows][:, kept], features, labels[rows], head)


def record(choice: Choice, specs: Sequence[Spec], forward_passes: int) -> Mapping[str, Any]:
    """What the row says of a choice: the chosen values of the searched parameters, the measure, the grid and
    what it cost."""
    varied = {k for k in specs[0].params if any(s.params[k] != specs[0].params[k] for s in specs)}
    chosen = {k: v for k, v in specs[choice.place].params.items() if k in varied}
    return {
        "params": plain_value(chosen), "objective": choice.objective, "grid": len(specs),
        "forward_passes": forward_passes,
    }  # fmt: skip
