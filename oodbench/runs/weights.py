"""Makes the weights of a run that the store lacks: trained, or loaded from the user's file."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.core.progress import Reporter
from oodbench.core.spec import plain_value
from oodbench.runs.held import artefact
from oodbench.runs.machine import provenance
from oodbench.runs.store import Lock, Store
from oodbench.suite.run import Run, TrainedRun
from oodbench.training.initialise import fresh_weights
from oodbench.training.loop import Listener, never_acted, train
from oodbench.training.processes import ALONE, Team
from oodbench.training.reader import Material

SAVE_EVERY = 60.0
"""Seconds between two saved states of a training in progress: what a kill may cost at most, plus the epoch in
hand."""


@dataclass
class Bench:
    """What every maker works with: where artefacts go, on which device, whom to tell, and what was made."""

    store: Store
    device: str
    reporter: Reporter
    team: Team = ALONE
    made: Counter[str] = field(default_factory=Counter)


class Weights:
    """Trains or loads what is missing; keeps the last network at hand."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.store = bench, bench.store
        self._last: tuple[str, Network] | None = None

    def make(self, run: Run) -> None:
        """Train, or load a user's weights, unless they are stored; what a run starts from or is made of comes
        first."""
        for one in run.lineage:
            self._ensure(one)

    def _ensure(self, run: TrainedRun) -> None:
        team = self.bench.team
        # a training together has the first process decide for all; everything else is the first one's alone
        together = run.built_method.provides == "loss" and run.recipe.world_size > 1
        if team.rank and not together:
            return
        if not together and self.store.get("weights", run.key):
            return
        with contextlib.nullcontext() if team.rank else self.store.lock("weights", run.key) as held:
            there = not team.rank and self.store.get("weights", run.key) is not None
            if not (team.agreed(there) if together else there):
                self._make(run, held)

    def network(self, run: TrainedRun) -> Network:
        """The run's network with its stored weights; the last one is kept at hand."""
        if self._last is None or self._last[0] != run.key:
            network = self._fresh(run)
            network.load_state_dict(artefact(self.store, "weights", run.key).tensors("weights"))
            self._last = (run.key, network)
        return self._last[1]

    def _fresh(self, run: TrainedRun) -> Network:
        return fresh_weights(run.network.spec, run.built_method, run.task, run.seed)

    def _make(self, run: TrainedRun, held: Lock | None) -> None:
        start = time.perf_counter()
        network = self._fresh(run)
        if run.parent is not None:
            self._begin_from(run.parent, network)
        history: list[dict[str, float]] = []
        if run.built_method.provides == "weights":
            run.built_method.load(network)
        else:
            history = self._train(run, network)
            other = never_acted(run.built_method, run.recipe, history)
            if other:
                raise UserError(other)
        if held is None:  # not the first of a team, which keeps what all of them made
            return
        record = provenance(self.bench.device) | {
            "seconds": time.perf_counter() - start,
            "run": run.title,
            "recipe": plain_value(dict(run.recipe)),
        }
        with held.draft() as draft:
            draft.tensors("weights", network.state_dict())
            head = network.linear_head()
            draft.tensors("head", {} if head is None else head._asdict())
            draft.json("history", history)
            draft.json("run", record)
        self.store.drop_state(run.key)
        self.bench.made["weights"] += 1
        self._last = (run.key, network)

    def _begin_from(self, parent: TrainedRun, network: Network) -> None:
        """Put a parent's weights into a network, which may have heads and buffers besides that the parent
        lacks."""
        stored = artefact(self.store, "weights", parent.key).tensors("weights")
        own = network.state_dict()
        wrong = [
            k
            for k, v in own.items()
            if k.startswith("body.") and (k not in stored or stored[k].shape != v.shape)
        ]
        if wrong:
            raise UserError(
                f"start: the weights of {parent.title} do not fit this network, beginning with {wrong[0]!r}"
            )
        fitting = {k: v for k, v in stored.items() if k in own and own[k].shape == v.shape}
        network.load_state_dict(fitting, strict=False)

    def _train(self, run: TrainedRun, network: Network) -> list[dict[str, float]]:
        with self.bench.reporter.stage(f"train {run.title}", run.recipe.epochs) as advance:
            shown, latest = 0.0, dict.fromkeys(("loss", "val_accuracy", "images_per_second"), math.nan)

            def show(record: Mapping[str, float], done: float = 0.0) -> None:
                nonlocal shown
                done = done or record["epoch"]
                latest.update({k: v for k, v in record.items() if k in latest})
                advance(done - shown, "  ".join(f"{k} {v:.4g}" for k, v in latest.items() if v == v))
                shown = done

            saved = time.monotonic()

            def save(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
                nonlocal saved
                if time.monotonic() - saved >= SAVE_EVERY:
                    self.store.save_state(run.key, tensors, scalars)
                    saved = time.monotonic()

            resume = self.store.load_state(run.key)
            if resume is not None:
                shown = len(resume[1]["history"])
                advance(shown)
            train_set = run.sets["train"].samples
            assert train_set is not None
            data = Material(
                train_set,
                run.sets["val"].samples if "val" in run.sets else None,
                run.geometry,
                run.data.outliers if "outliers" in run.built_method.needs else None,
            )
            listener = Listener(
                epoch=lambda record: show(record, record["epoch"] + 1),
                look=show,
                save=None if self.bench.team.rank else save,
            )
            return train(
                network, run.built_method, run.recipe, data,
                seed=run.seed, device=self.bench.device, listener=listener, resume=resume,
            )  # fmt: skip
