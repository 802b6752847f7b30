"""Makes what is missing of a run: the only place that knows both the store and the stages."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.core.progress import Reporter
from oodbench.core.spec import Spec, plain_value
from oodbench.runs.held import LazyOutputs, Stored
from oodbench.runs.machine import provenance
from oodbench.runs.store import Artefact, Store
from oodbench.scoring.extract import extract_view, outputs_of
from oodbench.scoring.score import score_sets
from oodbench.scoring.tuning import choose, record
from oodbench.suite.run import Run, ScorerPlan, prepares
from oodbench.training.initialise import fresh_weights
from oodbench.training.loop import train
from oodbench.training.processes import ALONE, Team

_SAVE_EVERY = 60.0
"""Seconds between two saved states of a training in progress: what a kill may cost at most, plus the epoch in
hand."""


class Engine:
    """Makes what is missing of one run after another, and keeps count of it."""

    def __init__(self, store: Store, device: str, reporter: Reporter, team: Team = ALONE) -> None:
        self.store, self.device, self.reporter, self.team = store, device, reporter, team
        self.made = {"weights": 0, "outputs": 0, "choices": 0, "scores": 0}
        self._network: tuple[str, Network] | None = None

    # -------------------------------------------------- weights

    def weights(self, run: Run) -> None:
        """Train, or load a user's weights, unless they are stored; what a run starts from or is made of comes
        first."""
        for other in (*run.members, *((run.parent,) if run.parent else ())):
            self.weights(other)
        # a training together has the first process decide for all; everything else is the first one's alone
        together = run.built_method.provides == "loss" and run.recipe.world_size > 1
        if run.data is None or run.members or (self.team.rank and not together):
            return
        if not together and self.store.get("weights", run.key):
            return
        with contextlib.nullcontext() if self.team.rank else self.store.lock("weights", run.key):
            there = not self.team.rank and self.store.get("weights", run.key) is not None
            if self.team.agreed(there) if together else there:
                return
            start = time.perf_counter()
            assert run.network is not None
            network = fresh_weights(run.network, run.built_method, run.data.task, run.seed)
            if run.parent is not None:
                self._begin_from(run.parent, network)
            history: list[dict[str, float]] = []
            if run.built_method.provides == "weights":
                run.built_method.load(network)
            else:
                history = self._train(run, network)
            if self.team.rank:
                return
            record = provenance(self.device) | {
                "seconds": time.perf_counter() - start,
                "run": run.title,
                "recipe": plain_value(dict(run.recipe)),
            }
            with self.store.draft("weights", run.key) as draft:
                draft.tensors("weights", network.state_dict())
                head = network.linear_head()
                draft.tensors("head", {} if head is None else head._asdict())
                draft.json("history", history)
                draft.json("run", record)
            self.store.drop_state(run.key)
            self.made["weights"] += 1
            self._network = (run.key, network)

    def _begin_from(self, parent: Run, network: Network) -> None:
        """Put a parent's weights into a network, which may have heads and buffers besides that the parent
        lacks."""
        stored = self._stored("weights", parent.key).tensors("weights")
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
        network.load_state_dict(
            {k: v for k, v in stored.items() if k in own and own[k].shape == v.shape}, strict=False
        )

    def _train(self, run: Run, network: Network) -> list[dict[str, float]]:
        assert run.data is not None
        with self.reporter.stage(f"train {run.title}", run.recipe.epochs) as advance:
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
                if time.monotonic() - saved >= _SAVE_EVERY:
                    self.store.save_state(run.key, tensors, scalars)
                    saved = time.monotonic()

            resume = self.store.load_state(run.key)
            if resume is not None:
                shown = len(resume[1]["history"])
                advance(shown)
            return train(
                network, run.built_method, run.recipe,
                run.sets["train"].samples,  # type: ignore[arg-type]
                run.sets["val"].samples if "val" in run.sets else None,
                geometry=run.data.geometry, seed=run.seed, device=self.device,
                on_epoch=lambda record: show(record, record["epoch"] + 1), on_look=show,
                outliers=run.data.outliers if "outliers" in run.built_method.needs else None,
                resume=resume, save=None if self.team.rank else save,
            )  # fmt: skip

    def network(self, run: Run) -> Network:
        """The run's network with its stored weights; the last one is kept at hand."""
        if self._network is None or self._network[0] != run.key:
            assert run.data is not None
            assert run.network is not None
            network = fresh_weights(run.network, run.built_method, run.data.task, run.seed)
            network.load_state_dict(self._stored("weights", run.key).tensors("weights"))
            self._network = (run.key, network)
        return self._network[1]

    def history(self, run: Run) -> list[dict[str, Any]]:
        """What was recorded of each epoch of a run's training, or of its members', with whose it is; empty
        where nothing is stored."""
        rows: list[dict[str, Any]] = []
        for source in run.members or (run,):
            stored = None if source.data is None else self.store.get("weights", source.key)
            common = {
                "run_key": source.key, "pair": source.pair.label,
                "split": "" if source.pair.split is None else source.pair.split,
                "network": source.network.label if source.network else "", "method": source.method.label,
                "seed": source.seed,
            }  # fmt: skip
            rows += [
                common | {**record, "epoch": int(record["epoch"])}
                for record in (stored.json("history") if stored else ())
            ]
        return rows

    # -------------------------------------------------- outputs

    def outputs(self, run: Run) -> LazyOutputs:
        """Extract every set that some scorer of this run needs and that is not stored."""
        if run.data is not None:
            for source, name, view in run.extractions(run.wanted()):
                if not self.store.get("outputs", source.outputs_key(name, view)):
                    self._extract(source, name, view)
        return LazyOutputs(self, run)

    def _extract(self, run: Run, name: str, view_spec: Spec | None) -> None:
        key = run.outputs_key(name, view_spec)
        samples = run.sets[name].samples
        assert run.data is not None
        assert samples is not None
        with self.store.lock("outputs", key):
            if self.store.get("outputs", key):
                return
            network, start = self.network(run), time.perf_counter()
            if view_spec is None:
                batches = outputs_of(network, samples, run.data.geometry, device=self.device)
            else:
                view = registry.build("view", view_spec)
                if prepares(view_spec):
                    plain = LazyOutputs(self, run)
                    view.prepare(
                        network.to(self.device).eval(),
                        *(plain.stored(role) if role in run.sets else None for role in ("train", "val")),
                    )
                batches = extract_view(
                    network, view, samples, run.data.geometry, seed=run.seed, device=self.device
                )
            title = f"extract {run.title} / {name}" + (f" / {view_spec.label}" if view_spec else "")
            with (
                self.reporter.stage(title, len(samples)) as advance,
                self.store.draft("outputs", key) as draft,
            ):
                with draft.rows("outputs", len(samples)) as writer:
                    for batch in batches:
                        writer.put(batch)
                        advance(len(next(iter(batch.values()))))
                draft.json(
                    "meta",
                    {
                        "seconds": time.perf_counter() - start,
                        "set": name,
                        "n": len(samples),
                        "run": run.title,
                    },
                )
            self.made["outputs"] += 1

    # -------------------------------------------------- tuning

    def tuned(self, run: Run) -> Run:
        """The run with every scorer that is to be tuned replaced by the chosen one; choices are stored like
        everything paid for."""
        scorers = [self._choose(run, s) if s.candidates and not s.reason else s for s in run.scorers]
        return replace(run, scorers=scorers)

    def _choose(self, run: Run, scorer: ScorerPlan) -> ScorerPlan:
        key = run.choice_key(scorer)
        if not self.store.get("choices", key):
            passes = 0
            for source, name, view in run.extractions(run.wanted_for(scorer)) if run.data is not None else ():
                if view is not None or run.sets[name].shift == "tune":
                    passes += len(run.sets[name].samples or ())
                if not self.store.get("outputs", source.outputs_key(name, view)):
                    self._extract(source, name, view)
            outputs, points = LazyOutputs(self, run), scorer.candidates
            start = time.perf_counter()
            with self.reporter.stage(f"tune {run.title} / {scorer.label}", 1) as advance:
                choice = choose(
                    [p.spec for p in points],
                    [outputs.of("train", p.view) if "train" in p.needs else None for p in points],
                    [outputs.of("val", p.view) for p in points],
                    None if scorer.tune == "id" else [outputs.of(f"tune:{scorer.tune}",
                    p.view) for p in points],
                    device=self.device,
                )  # fmt: skip
                advance(1)
            with self.store.lock("choices", key), self.store.draft("choices", key) as draft:
                draft.json(
                    "choice", {"place": choice.place, **record(choice, [p.spec for p in points], passes)}
                )
                draft.json(
                    "meta",
                    {
                        "auroc": [None if a != a else a for a in choice.auroc],
                        "seconds": time.perf_counter() - start,
                    },
                )
            self.made["choices"] += 1
        found = self._stored("choices", key).json("choice")
        return scorer.candidates[found.pop("place")]._replace(
            tune=scorer.tune, chosen=json.dumps(found, sort_keys=True)
        )

    # -------------------------------------------------- scores

    def scores(self, run: Run, outputs: LazyOutputs) -> tuple[dict[str, dict[str, Stored]], dict[str, str]]:
        """Scores of every applicable scorer on every set, {label: {set: Stored}}, and {label: reason} of
        those that failed."""
        missing: dict[tuple[str, ...], list[ScorerPlan]] = {}
        for scorer in run.scorers:
            if not scorer.reason:
                absent = tuple(
                    n for n in run.sets_of(scorer) if not self.store.get("scores", run.scores_key(scorer, n))
                )
                if absent:
                    missing.setdefault(absent, []).append(scorer)
        failed: dict[str, str] = {}
        for names, scorers in missing.items():
            failed |= self._score(run, outputs, names, scorers)
        found: dict[str, dict[str, Stored]] = {}
        for scorer in run.scorers:
            if not scorer.reason and scorer.label not in failed:
                found[scorer.label] = {
                    n: self._read_scores(run.scores_key(scorer, n)) for n in run.sets_of(scorer)
                }
        return found, failed

    def _score(
        self, run: Run, outputs: LazyOutputs, names: Sequence[str], scorers: Sequence[ScorerPlan]
    ) -> dict[str, str]:
        failed: dict[str, str] = {}
        by_view: dict[str, list[ScorerPlan]] = {}
        for s in scorers:  # scorers that share a view (or have none) walk the chunks together
            by_view.setdefault("" if s.view is None else s.view.label, []).append(s)
        for group in by_view.values():
            view = group[0].view
            built = {s.label: registry.build("scorer", s.spec) for s in group}
            train_set = outputs.of("train", view) if any("train" in s.needs for s in group) else None
            val_set = outputs.of("val", view) if any("val" in s.needs for s in group) else None
            with self.reporter.stage(
                f"score {run.title}" + (f" / {view.label}" if view else ""), len(built)
            ) as advance:
                scored = score_sets(
                    built, train_set, val_set, {n: outputs.of(n, view) for n in names}, device=self.device
                )
                advance(len(built))
            for s in group:
                result = scored[s.label]
                reasons = [r.reason for r in result.sets.values() if r.reason]
                if reasons:
                    failed[s.label] = reasons[0]
                    self.reporter.warn(f"{run.title}: {reasons[0]}")
                    continue
                for name, one in result.sets.items():
                    assert one.scores is not None
                    with self.store.draft("scores", run.scores_key(s, name)) as draft:
                        draft.tensors(
                            "scores",
                            {"scores": one.scores}
                            | ({} if one.predictions is None else {"predictions": one.predictions}),
                        )
                        draft.json(
                            "meta",
                            {
                                "fit_seconds": result.fit_seconds,
                                "seconds": one.seconds,
                                "scorer": s.spec.plain,
                                "set": name,
                            },
                        )
                    self.made["scores"] += 1
        return failed

    def _read_scores(self, key: str) -> Stored:
        artefact = self._stored("scores", key)
        tensors, meta = artefact.tensors("scores"), artefact.json("meta")
        return Stored(tensors["scores"], tensors.get("predictions"), meta["fit_seconds"], meta["seconds"])

    def _stored(self, kind: str, key: str) -> Artefact:
        artefact = self.store.get(kind, key)
        if artefact is None:
            raise UserError(
                f"{kind} {key[:12]} vanished from the store while it was in use; run again to make it anew"
            )
        return artefact

    # -------------------------------------------------- costs

    def timing(self, run: Run, scores: Mapping[str, Mapping[str, Stored]]) -> list[dict[str, Any]]:
        """Seconds and bytes of every artefact of a run, as recorded when it was made."""
        common = {
            "run_key": run.key,
            "pair": run.pair.label,
            "split": "" if run.pair.split is None else run.pair.split,
            "method": run.method.label,
            "seed": run.seed,
        }
        common |= {"network": run.network.label if run.network else ""}
        rows: list[dict[str, Any]] = []
        if run.data is not None:
            for source in run.members or (run,):
                artefact = self._stored("weights", source.key)
                seconds = artefact.json("run")["seconds"]
                rows.append({"stage": "train", "seconds": seconds, "bytes": artefact.bytes, "n": None})
            for source, name, view in run.extractions(run.wanted()):
                artefact = self._stored("outputs", source.outputs_key(name, view))
                meta = artefact.json("meta")
                rows.append(
                    {
                        "stage": "extract",
                        "ood": name,
                        "scorer": view.label if view else "",
                        "seconds": meta["seconds"],
                        "bytes": artefact.bytes,
                        "n": meta["n"],
                    }
                )
        for label, sets in scores.items():
            rows.append({"stage": "fit", "scorer": label, "seconds": next(iter(sets.values())).fit_seconds})
            rows += [
                {"stage": "score", "scorer": label, "ood": name, "seconds": s.seconds, "n": len(s.scores)}
                for name, s in sets.items()
            ]
        return [common | row for row in rows]
