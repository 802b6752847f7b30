"""What a store holds of a run: outputs, scores, choices, history, timing. It reads and never makes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.core.half import HalfRows
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.spec import Spec
from oodbench.data.samples import places_per_class
from oodbench.runs.artefact import Artefact
from oodbench.runs.failures import Failures
from oodbench.runs.packing import address
from oodbench.runs.store import Store
from oodbench.suite.run import ArrayRun, Run
from oodbench.suite.scorer_plan import ScorerPlan


class OnDisk(NamedTuple):
    """One scorer's stored result on one set: OOD scores (N,), predictions of the edited network or None, and
    what it cost."""

    scores: Tensor
    predictions: Tensor | None
    fit_seconds: float
    seconds: float


Scores = Mapping[str, Mapping[str, OnDisk]]
"""{label of the scorer: {set: what is stored}}."""


def artefact(store: Store, kind: str, key: str, of: str = "") -> Artefact:
    """A stored artefact that must be there; `of`: where it may be packed (`packing.address`)."""
    found = store.get(kind, key, of)
    if found is None:
        raise UserError(f"{kind} {key[:12]} is not in the store, or damaged; run again to make it anew")
    return found


class LazyOutputs:
    """Outputs of one run's sets, opened from the store when first asked for (or taken from the user's
    arrays), with a view's extras."""

    def __init__(self, store: Store, run: Run) -> None:
        self._store, self._run, self._at = store, run, address(run)
        self._open: dict[tuple[str, str], Outputs] = {}

    def of(self, name: str, view: Spec | None = None) -> Outputs:
        """The plain outputs of a set, plus the extras of `view` where they were extracted for it."""
        place = (name, view.label if view else "")
        if place not in self._open:
            plain = self._open.get((name, "")) or self.stored(name)
            self._open[name, ""] = plain
            if view is not None:
                found = self._store.get("outputs", self._run.outputs_key(name, view), self._at)
                extras = found.tensors("outputs") if found else {}
                self._open[place] = Outputs(
                    plain.logits, plain.features, plain.labels, plain.head, {**plain.extras, **extras}
                )
        return self._open[place]

    def stored(self, name: str) -> Outputs:
        """The plain outputs of a set, opened anew."""
        run = self._run
        if isinstance(run, ArrayRun):
            outputs = run.built_method.outputs(name)
            if name == "train" and run.fit is not None:
                return outputs[places_per_class(outputs.labels, run.fit)]
            return outputs
        if run.sources != (run,):
            return ensemble_outputs([LazyOutputs(self._store, m).stored(name) for m in run.sources])
        tensors = artefact(self._store, "outputs", run.outputs_key(name), self._at).tensors("outputs")
        head = artefact(self._store, "weights", run.key).tensors("head")
        extras = {k.removeprefix("extras."): t for k, t in tensors.items() if k.startswith("extras.")}
        features = tensors["features"]
        if features.dtype == torch.float16:
            features = HalfRows.of(features)
        return Outputs(tensors["logits"], features, tensors["labels"], Head(**head) if head else None, extras)


def ensemble_outputs(members: Sequence[Outputs]) -> Outputs:
    """Outputs of an ensemble: log of the mean probability as logits, and every member's logits (N, M, C) as
    ``members.logits``."""
    logits = torch.stack([m.logits for m in members], dim=1)
    mean = torch.logsumexp(torch.log_softmax(logits, dim=2), dim=1) - math.log(len(members))
    return Outputs(mean, None, members[0].labels, None, {"members.logits": logits})


def choice(store: Store, run: Run, scorer: ScorerPlan) -> ScorerPlan:
    """The plan that a stored choice among a scorer's candidates took."""
    found = artefact(store, "choices", run.choice_key(scorer), address(run)).json("choice")
    return scorer.candidates[found.pop("place")]._replace(
        tune=scorer.tune, chosen=json.dumps(found, sort_keys=True)
    )


def tuned(store: Store, run: Run) -> Run:
    """The run with every scorer that is to be tuned replaced by the one that the stored choice took; without
    a stored choice it stays as it is."""
    chosen = [
        choice(store, run, s)
        if s.candidates and not s.reason and store.get("choices", run.choice_key(s), address(run))
        else s
        for s in run.scorers
    ]
    return replace(run, scorers=chosen)


class Held:
    """What a store holds of one run whose scorers are chosen (see `tuned`).

    `failures` tells what failed when it was made; without them, what the store lacks is what failed."""

    def __init__(self, store: Store, run: Run, failures: Failures | None = None) -> None:
        self.store, self.run, self._at = store, run, address(run)
        self.outputs = LazyOutputs(store, run)
        self.failures = failures or self._gone()

    def _gone(self) -> Failures:
        found = Failures()
        for scorer in self.run.scorers:
            if scorer.candidates and not scorer.reason:
                why = f"the choice of {scorer.label} is not in the store, or damaged"
                found.add(why, scorer=scorer.label)
        for name, s in self.run.sets.items():
            if s.role in ("train", "tune"):
                continue
            for source in self.run.sources:
                if not self.store.get("outputs", source.outputs_key(name), address(source)):
                    found.add(f"the outputs of {name} are not in the store, or damaged", on=name)
        return found

    def objection(self) -> str:
        """Why the run cannot be read at all; empty where its weights and the plain outputs of its ID sets are
        there."""
        for source in self.run.sources:
            if not self.store.get("weights", source.key):
                return f"the weights {source.key[:12]} are not in the store, or damaged"
        return self.failures.why("", [n for n in ("val", "test") if n in self.run.sets])

    @cached_property
    def scores(self) -> Scores:
        """Scores of every scorer that can run here, on the sets where it has them."""
        found: dict[str, dict[str, OnDisk]] = {}
        for s in self.run.scorers:
            if s.reason or s.candidates:
                continue
            for name in self.run.sets_of(s):
                if self.failures.why(s.label, [name]):
                    continue
                key = self.run.scores_key(s, name)
                if self.store.get("scores", key, self._at):
                    found.setdefault(s.label, {})[name] = self._scores(key)
                else:
                    why = f"its scores on {name} are not in the store, or damaged"
                    self.failures.add(why, scorer=s.label, on=name)
        return found

    def why(self, scorer: str, sets: Sequence[str]) -> str:
        """Why there are no numbers of a scorer (``""``: of the network alone) that read these sets; empty
        where there are."""
        _ = self.scores  # what the store lacks is known once it was looked for
        return self.failures.why(scorer, sets)

    @property
    def absent(self) -> Mapping[str, str]:
        """{label: first reason} of the scorers that lack scores of some set."""
        whys = {s.label: self.why(s.label, self.run.sets_of(s)) for s in self.run.scorers if not s.reason}
        return {label: why for label, why in whys.items() if why}

    def _scores(self, key: str) -> OnDisk:
        found = artefact(self.store, "scores", key, self._at)
        tensors, meta = found.tensors("scores"), found.json("meta")
        return OnDisk(tensors["scores"], tensors.get("predictions"), meta["fit_seconds"], meta["seconds"])

    def timing(self) -> list[dict[str, Any]]:
        """Seconds and bytes of every artefact of the run, as recorded when it was made."""
        run, rows = self.run, []
        for source in run.sources:
            made = artefact(self.store, "weights", source.key)
            rows.append({"stage": "train", "seconds": made.json("run")["seconds"], "bytes": made.bytes})
        for source, name, view in run.extractions(run.wanted()):
            found = self.store.get("outputs", source.outputs_key(name, view), address(source))
            if found is None:  # of a view that failed
                continue
            meta, of_view = found.json("meta"), view.label if view else ""
            what = {"stage": "extract", "ood": name, "scorer": of_view, "n": meta["n"]}
            rows.append(what | {"seconds": meta["seconds"], "bytes": found.bytes})
        for label, sets in self.scores.items():
            for first in list(sets.values())[:1]:  # each set's scores say the same
                rows.append({"stage": "fit", "scorer": label, "seconds": first.fit_seconds})
            rows += [
                {"stage": "score", "scorer": label, "ood": name, "seconds": s.seconds, "n": len(s.scores)}
                for name, s in sets.items()
            ]
        return [{"run_key": run.key, **run.place, **row} for row in rows]


def history(store: Store, run: Run) -> list[dict[str, Any]]:
    """What was recorded of each epoch of a run's training, or of its members', with whose it is; empty where
    nothing is stored."""
    rows: list[dict[str, Any]] = []
    for source in run.sources:
        stored = store.get("weights", source.key)
        rows += [
            {"run_key": source.key, **source.place, **record, "epoch": int(record["epoch"])}
            for record in (stored.json("history") if stored else ())
        ]
    return rows
