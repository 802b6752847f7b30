"""Makes the choices and the scores of a run that the store lacks."""

from __future__ import annotations

import time
from collections.abc import Sequence

from oodbench.core import registry
from oodbench.core.errors import ANYTHING, UserError, reason_of
from oodbench.runs.artefact import in_memory
from oodbench.runs.failures import Failures
from oodbench.runs.held import LazyOutputs
from oodbench.runs.outputs import Extraction
from oodbench.runs.pack import Name
from oodbench.runs.packing import address
from oodbench.runs.store import CannotKeep, Lock
from oodbench.runs.weights import Bench
from oodbench.scoring.score import Scored, score_sets
from oodbench.scoring.tuning import choose, record
from oodbench.suite.run import Run
from oodbench.suite.scorer_plan import ScorerPlan


class Scoring:
    """Chooses the parameters of scorers that are to be tuned, and scores every set."""

    def __init__(self, bench: Bench, extraction: Extraction) -> None:
        self.bench, self.store, self.extraction = bench, bench.store, extraction

    def choices(self, run: Run, failures: Failures) -> None:
        """Make the choice of every scorer that is to be tuned; it is stored like everything paid for.
        `failures` gets those that could not be tuned."""
        at = address(run)
        for scorer in run.scorers:
            if not scorer.candidates or scorer.reason:
                continue
            key = run.choice_key(scorer)
            if self.store.get("choices", key, at):
                continue
            try:
                with self.store.lock("choices", key, at) as held:
                    if not self.store.get("choices", key, at):
                        self._choose(run, scorer, held)
            except CannotKeep:
                raise
            except ANYTHING as error:
                why = f"scorer {scorer.label!r} could not be tuned: {reason_of(error)}"
                failures.add(why, scorer=scorer.label)
                self.bench.reporter.warn(f"{run.title}: {why}")

    def _choose(self, run: Run, scorer: ScorerPlan, held: Lock) -> None:
        wanted = run.wanted_for(scorer)
        failures = Failures()
        self.extraction.make(run, wanted, failures)
        why = failures.why("", run.tuning_sets(scorer))
        if why:
            raise UserError(why)
        passes = sum(
            len(run.read[name].samples or ())
            for _, name, view in run.extractions(wanted)
            if view is not None or run.sets[name].role == "tune"
        )
        outputs, points = LazyOutputs(self.store, run), scorer.candidates
        tune_set = None if scorer.regime == "id" else f"tune:{scorer.regime}"
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
        with held.draft() as draft:
            draft.json("choice", {"place": choice.place, **record(choice, [p.spec for p in points], passes)})
            draft.json("meta", {"auroc": [None if a != a else a for a in choice.auroc], "seconds": spent})
        self.bench.made["choices"] += 1

    def make(self, run: Run, failures: Failures) -> None:
        """Score every set that a scorer has no scores of. `failures` knows the sets and views that failed,
        and gets the scorers that do, each on the sets where it does."""
        missing: dict[tuple[str, ...], list[ScorerPlan]] = {}
        for scorer in run.scorers:
            fitted_on = [role for role in ("train", "val") if role in scorer.needs]
            if scorer.reason or failures.why(scorer.label):
                continue
            why = failures.why(scorer.label, fitted_on)
            if why:
                failures.add(why, scorer=scorer.label)
                continue
            absent = [
                n
                for n in run.sets_of(scorer)
                if not failures.why(scorer.label, [n])
                and not self.store.get("scores", run.scores_key(scorer, n), address(run))
            ]
            if absent:
                missing.setdefault(tuple(absent), []).append(scorer)
        outputs = LazyOutputs(self.store, run)
        for names, scorers in missing.items():
            by_view: dict[str, list[ScorerPlan]] = {}
            for s in scorers:  # scorers that share a view (or have none) walk the chunks together
                by_view.setdefault("" if s.view is None else s.view.label, []).append(s)
            for group in by_view.values():
                self._score(run, outputs, names, group, failures)

    def _score(
        self, run: Run, outputs: LazyOutputs, names: Sequence[str], group: Sequence[ScorerPlan],
        failures: Failures,
    ) -> None:  # fmt: skip
        view = group[0].view
        built = {s.label: registry.build("scorer", s.spec) for s in group}
        train = outputs.of("train", view) if any("train" in s.needs for s in group) else None
        val = outputs.of("val", view) if any("val" in s.needs for s in group) else None
        title = f"score {run.title}" + (f" / {view.label}" if view else "")
        with self.bench.reporter.stage(title, len(built)) as advance:
            sets = {n: outputs.of(n, view) for n in names}
            scored = score_sets(built, train, val, sets, device=self.bench.device)
            advance(len(built))
        made: dict[Name, dict[str, bytes]] = {}
        for s in group:
            result = scored[s.label]
            for name, one in result.sets.items():
                if one.reason:
                    if failures.add(one.reason, scorer=s.label, on=name):
                        self.bench.reporter.warn(f"{run.title}: {one.reason}")
                else:  # a scorer of another name may have the same
                    made.setdefault(
                        ("scores", run.scores_key(s, name)), _kept(s, name, one, result.fit_seconds)
                    )
        self._keep(run, made)

    def _keep(self, run: Run, made: dict[Name, dict[str, bytes]]) -> None:
        """Store scores that were made together, but for those that another process has stored meanwhile."""
        at = address(run)
        new = {name: files for name, files in made.items() if not self.store.get(*name, at)}
        if new:
            self.store.put(at, new)
            self.bench.made["scores"] += len(new)


def _kept(scorer: ScorerPlan, name: str, one: Scored, fit_seconds: float) -> dict[str, bytes]:
    """The files of one scorer's scores on one set."""
    assert one.scores is not None
    tensors = {"scores": one.scores}
    if one.predictions is not None:
        tensors["predictions"] = one.predictions
    meta = {"fit_seconds": fit_seconds, "seconds": one.seconds, "scorer": scorer.spec.plain, "set": name}
    return in_memory({"scores": tensors}, {"meta": meta})
