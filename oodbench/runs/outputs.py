"""Makes the outputs of a run that the store lacks: logits and features of each set, and what views add."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

from oodbench.core import registry
from oodbench.core.errors import ANYTHING, reason_of
from oodbench.core.half import halved
from oodbench.core.spec import Spec
from oodbench.runs.failures import Failures
from oodbench.runs.held import LazyOutputs
from oodbench.runs.packing import address
from oodbench.runs.store import CannotKeep, Lock
from oodbench.runs.weights import Bench, Weights
from oodbench.scoring.extract import VIEW_BATCH, extract_view, outputs_of
from oodbench.suite.run import ArrayRun, Run, TrainedRun
from oodbench.suite.scorer_plan import prepares


class Extraction:
    """Extracts what is missing through the networks of `weights`: sets in shards, of which a killed process
    loses the one in hand."""

    def __init__(self, bench: Bench, weights: Weights) -> None:
        self.bench, self.store, self.weights = bench, bench.store, weights

    def make(self, run: Run, wanted: Iterable[tuple[str, Spec | None]], failures: Failures) -> None:
        """Extract every (set, view) of `wanted` that is not stored, through each member of an ensemble, or
        look whether the user's arrays can be read.

        `failures` gets the views that failed, which cost their scorers alone, and the sets, which cost their
        rows alone. Raises where an ID test or validation set fails, without which nothing can be said."""
        wanted = list(wanted)
        if isinstance(run, ArrayRun):
            for name, _ in wanted:
                with self._noting(run, name, None, failures):
                    run.built_method.outputs(name)
        for source, name, view in run.extractions(wanted):
            key, at = source.outputs_key(name, view), address(source)
            if failures.why("", [name]) or self.store.get("outputs", key, at):
                continue
            with self.store.lock("outputs", key, at) as held, self._noting(run, name, view, failures):
                if not self.store.get("outputs", key, at):
                    self._extract(source, name, view, held)

    @contextlib.contextmanager
    def _noting(self, run: Run, name: str, view: Spec | None, failures: Failures) -> Iterator[None]:
        """What fails inside is noted for those whom it costs."""
        try:
            yield
        except CannotKeep:
            raise
        except ANYTHING as error:
            if view is not None:
                why = f"view {view.label!r} on set {name!r}: {reason_of(error)}"
                for s in run.scorers:
                    if view.label in {v.label for v in (s.view, *(c.view for c in s.candidates)) if v}:
                        failures.add(why, scorer=s.label, on=name)
            elif run.sets[name].role in ("test", "val"):
                raise
            else:
                why = f"set {name!r}: {reason_of(error)}"
                failures.add(why, on=name)
            self.bench.reporter.warn(f"{run.title}: {why}")

    def _extract(self, run: TrainedRun, name: str, view: Spec | None, held: Lock) -> None:
        samples, start = run.read[name].samples, time.perf_counter()
        assert samples is not None
        title = f"extract {run.title} / {name}" + (f" / {view.label}" if view else "")
        with (
            self.bench.reporter.stage(title, len(samples)) as advance,
            held.draft() as draft,
        ):
            with draft.rows("outputs", len(samples), _together(run, view)) as writer:
                missing, earlier = writer.missing, writer.seconds
                advance(len(samples) - sum(map(len, missing)))
                batches = self._batches(run, name, view) if missing else None
                for places in missing:
                    assert batches is not None
                    writer.go_to(places.start)
                    for batch in batches(places):
                        writer.put(_kept(batch, run) if view is None else batch)
                        advance(len(next(iter(batch.values()))))
            spent = time.perf_counter() - start + earlier
            draft.json("meta", {"seconds": spent, "set": name, "n": len(samples), "run": run.title})
        self.bench.made["outputs"] += 1

    def _batches(
        self, run: TrainedRun, name: str, view_spec: Spec | None
    ) -> Callable[[range], Iterator[dict[str, Tensor]]]:
        """What extracts some places of a set, through a network and a view that are made ready once."""
        samples, device = run.read[name].samples, self.bench.device
        assert samples is not None
        network = self.weights.network(run)
        if view_spec is None:
            return lambda places: outputs_of(
                network, samples, run.geometry, how=run.extract, device=device, places=places
            )
        view = registry.build("view", view_spec)
        if prepares(view_spec):
            plain = LazyOutputs(self.store, run)
            known = (plain.stored(role) if role in run.sets else None for role in ("train", "val"))
            view.prepare(network.to(device).eval(), *known)
        return lambda places: extract_view(
            network, view, samples, run.geometry, seed=run.seed, how=run.extract, device=device, places=places
        )  # fmt: skip


def _together(run: TrainedRun, view: Spec | None) -> int:
    """Samples that are extracted together, which a shard must not part."""
    return run.extract.size if view is None else VIEW_BATCH


def _kept(batch: dict[str, Tensor], run: TrainedRun) -> dict[str, Tensor]:
    """A batch as it is stored."""
    if run.stored != "fp16":
        return batch
    return batch | {"features": halved(batch["features"])}
