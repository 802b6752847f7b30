"""Makes the outputs of a run that the store lacks: logits and features of each set, and what views add."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from torch import Tensor

from oodbench.core import registry
from oodbench.core.spec import Spec
from oodbench.runs.held import LazyOutputs
from oodbench.runs.weights import Bench, Weights
from oodbench.scoring.extract import extract_view, outputs_of
from oodbench.scoring.score import FAILURES
from oodbench.suite.run import Run, TrainedRun
from oodbench.suite.scorer_plan import prepares


class Extraction:
    """Extracts what is missing through the networks of `weights`."""

    def __init__(self, bench: Bench, weights: Weights) -> None:
        self.bench, self.store, self.weights = bench, bench.store, weights

    def make(self, run: Run, wanted: Iterable[tuple[str, Spec | None]]) -> dict[str, str]:
        """Extract every (set, view) of `wanted` that is not stored, through each member of an ensemble;
        {label: reason} of the views that failed, which cost their scorers alone."""
        failed: dict[str, str] = {}
        for source, name, view in run.extractions(wanted):
            key = source.outputs_key(name, view)
            if (view is not None and view.label in failed) or self.store.get("outputs", key):
                continue
            with self.store.lock("outputs", key):
                if self.store.get("outputs", key):
                    continue
                try:
                    self._extract(source, name, view, key)
                except FAILURES as error:
                    if view is None:
                        raise
                    why = f"{type(error).__name__}: {error}".splitlines()[0]
                    failed[view.label] = f"view {view.label!r} on set {name!r}: {why}"
                    self.bench.reporter.warn(f"{run.title}: {failed[view.label]}")
        return failed

    def _extract(self, run: TrainedRun, name: str, view: Spec | None, key: str) -> None:
        samples, start = run.sets[name].samples, time.perf_counter()
        assert samples is not None
        title = f"extract {run.title} / {name}" + (f" / {view.label}" if view else "")
        batches = self._batches(run, name, view)
        with (
            self.bench.reporter.stage(title, len(samples)) as advance,
            self.store.draft("outputs", key) as draft,
        ):
            with draft.rows("outputs", len(samples)) as writer:
                for batch in batches:
                    writer.put(batch)
                    advance(len(next(iter(batch.values()))))
            spent = time.perf_counter() - start
            draft.json("meta", {"seconds": spent, "set": name, "n": len(samples), "run": run.title})
        self.bench.made["outputs"] += 1

    def _batches(self, run: TrainedRun, name: str, view_spec: Spec | None) -> Iterator[dict[str, Tensor]]:
        samples, device = run.sets[name].samples, self.bench.device
        assert samples is not None
        network = self.weights.network(run)
        if view_spec is None:
            return outputs_of(network, samples, run.data.geometry, device=device)
        view = registry.build("view", view_spec)
        if prepares(view_spec):
            plain = LazyOutputs(self.store, run)
            known = (plain.stored(role) if role in run.sets else None for role in ("train", "val"))
            view.prepare(network.to(device).eval(), *known)
        return extract_view(network, view, samples, run.data.geometry, seed=run.seed, device=device)
