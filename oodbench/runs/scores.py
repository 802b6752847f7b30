"""Makes the choices and the scores of a run that the store lacks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from oodbench.core import registry
from oodbench.runs.held import LazyOutputs
from oodbench.runs.outputs import Extraction
from oodbench.runs.weights import Bench
from oodbench.scoring.score import score_sets
from oodbench.scoring.tuning import choose, record
from oodbench.suite.run import Run
from oodbench.suite.scorer_plan import ScorerPlan


class Scoring:
    """Chooses the parameters of scorers that are to be tuned, and scores every set."""

    def __init__(self, bench: Bench, extraction: Extraction) -> None:
        self.bench, self.store, self.extraction = bench, bench.store, extraction

    def choices(self, run: Run) -> None:
        """Make the choice of every scorer that is to be tuned; it is stored like everything paid for."""
        for scorer in run.scorers:
            if scorer.candidates and not scorer.reason:
                key = run.choice_key(scorer)
                if not self.store.get("choices", key):
                    with self.store.lock("choices", key):
                        if not self.store.get("choices", key):
                            self._choose(run, scorer, key)

    def _choose(self, run: Run, scorer: ScorerPlan, key: str) -> None:
        wanted = run.wanted_for(scorer)
        self.extraction.make(run, wanted)
        passes = sum(
            len(run.sets[name].samples or ())
            for _, name, view in run.extractions(wanted)
            if view is not None or run.sets[name].role == "tune"
        )
        outputs, points = LazyOutputs(self.store, run), scorer.candidates
        tune_set = None if scorer.tune == "id" else f"tune:{scorer.tune}"
        start = time.perf_counter()
        with self.bench.reporter.stage(f"tune {run.title} / {scorer.label}", 1) as advance:
            choice = choose(
                [p.spec for p in points],
                [outputs.of("train", p.view) if "train" in p.needs else None for p in points],
                [outputs.of("val", p.view) for p in points],
                [outputs.of(tune_set, p.view) for p in points] if tune_set else None,
                device=self.bench.device,
            )
            advance(1)
        spent = time.perf_counter() - start
        with self.store.draft("choices", key) as draft:
            draft.json("choice", {"place": choice.place, **record(choice, [p.spec for p in points], passes)})
            draft.json("meta", {"auroc": [None if a != a else a for a in choice.auroc], "seconds": spent})
        self.bench.made["choices"] += 1

    def make(self, run: Run, without: Mapping[str, str]) -> dict[str, str]:
        """Score every set that a scorer has no scores of; {label: reason} of the scorers that failed. So do
        those that read a view `without` extras, {label of the view: reason}."""
        missing: dict[tuple[str, ...], list[ScorerPlan]] = {}
        failed: dict[str, str] = {}
        for scorer in run.scorers:
            if scorer.view is not None and scorer.view.label in without:
                failed[scorer.label] = without[scorer.view.label]
            elif not scorer.reason:
                absent = [
                    n for n in run.sets_of(scorer) if not self.store.get("scores", run.scores_key(scorer, n))
                ]
                if absent:
                    missing.setdefault(tuple(absent), []).append(scorer)
        outputs = LazyOutputs(self.store, run)
        for names, scorers in missing.items():
            by_view: dict[str, list[ScorerPlan]] = {}
            for s in scorers:  # scorers that share a view (or have none) walk the chunks together
                by_view.setdefault("" if s.view is None else s.view.label, []).append(s)
            for group in by_view.values():
                failed |= self._score(run, outputs, names, group)
        return failed

    def _score(
        self, run: Run, outputs: LazyOutputs, names: Sequence[str], group: Sequence[ScorerPlan]
    ) -> dict[str, str]:
        failed: dict[str, str] = {}
        view = group[0].view
        built = {s.label: registry.build("scorer", s.spec) for s in group}
        train = outputs.of("train", view) if any("train" in s.needs for s in group) else None
        val = outputs.of("val", view) if any("val" in s.needs for s in group) else None
        title = f"score {run.title}" + (f" / {view.label}" if view else "")
        with self.bench.reporter.stage(title, len(built)) as advance:
            sets = {n: outputs.of(n, view) for n in names}
            scored = score_sets(built, train, val, sets, device=self.bench.device)
            advance(len(built))
        for s in group:
            result = scored[s.label]
            reasons = [r.reason for r in result.sets.values() if r.reason]
            if reasons:
                failed[s.label] = reasons[0]
                self.bench.reporter.warn(f"{run.title}: {reasons[0]}")
                continue
            for name, one in result.sets.items():
                assert one.scores is not None
                tensors = {"scores": one.scores}
                if one.predictions is not None:
                    tensors["predictions"] = one.predictions
                meta = {"fit_seconds": result.fit_seconds, "seconds": one.seconds}
                key = run.scores_key(s, name)
                with self.store.lock("scores", key):
                    if not self.store.get("scores", key):  # another process, or a scorer of another name
                        with self.store.draft("scores", key) as draft:
                            draft.tensors("scores", tensors)
                            draft.json("meta", meta | {"scorer": s.spec.plain, "set": name})
                        self.bench.made["scores"] += 1
        return failed
