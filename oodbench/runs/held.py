"""What the store holds of a run: outputs, scores, history. It reads and never makes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.spec import Spec
from oodbench.runs.store import Store
from oodbench.suite.run import Run

if TYPE_CHECKING:
    from oodbench.runs.engine import Engine


class Stored(NamedTuple):
    """One scorer's stored result on one set: OOD scores (N,), predictions of the edited network or None, and
    what it cost."""

    scores: Tensor
    predictions: Tensor | None
    fit_seconds: float
    seconds: float


class LazyOutputs:
    """Outputs of one run's sets, opened from the store when first asked for (or taken from the user's
    arrays), with a view's extras."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self._engine, self._run = engine, run
        self._open: dict[tuple[str, str], Outputs] = {}

    def of(self, name: str, view: Spec | None = None) -> Outputs:
        """The plain outputs of a set, plus the extras of `view` where they were extracted for it."""
        place = (name, view.label if view else "")
        if place not in self._open:
            plain = self._open.get((name, "")) or self.stored(name)
            self._open[name, ""] = plain
            if view is not None:
                artefact = self._engine.store.get("outputs", self._run.outputs_key(name, view))
                extras = artefact.tensors("outputs") if artefact else {}
                self._open[place] = Outputs(
                    plain.logits, plain.features, plain.labels, plain.head, {**plain.extras, **extras}
                )
        return self._open[place]

    def stored(self, name: str) -> Outputs:
        run = self._run
        if run.data is None:
            return run.built_method.outputs(name)
        if run.members:
            return ensemble_outputs([LazyOutputs(self._engine, m).stored(name) for m in run.members])
        tensors = self._engine._stored("outputs", run.outputs_key(name)).tensors("outputs")
        head = self._engine._stored("weights", run.key).tensors("head")
        extras = {k.removeprefix("extras."): t for k, t in tensors.items() if k.startswith("extras.")}
        return Outputs(
            tensors["logits"], tensors["features"], tensors["labels"], Head(**head) if head else None, extras
        )


def ensemble_outputs(members: Sequence[Outputs]) -> Outputs:
    """Outputs of an ensemble: log of the mean probability as logits, and every member's logits (N, M, C) as
    ``members.logits``."""
    logits = torch.stack([m.logits for m in members], dim=1)
    mean = torch.logsumexp(torch.log_softmax(logits, dim=2), dim=1) - math.log(len(members))
    return Outputs(mean, None, members[0].labels, None, {"members.logits": logits})


class Held(NamedTuple):
    """What the store holds of one run: its outputs, the scores of every scorer that has all of them, and why
    others have not."""

    run: Run
    outputs: LazyOutputs
    scores: Mapping[str, Mapping[str, Stored]]
    absent: Mapping[str, str]


def _scores(store: Store, key: str) -> Stored:
    artefact = store.get("scores", key)
    assert artefact is not None
    tensors, meta = artefact.tensors("scores"), artefact.json("meta")
    return Stored(tensors["scores"], tensors.get("predictions"), meta["fit_seconds"], meta["seconds"])
