"""Artefacts of a store made again beside it, by what made them in the first place: outputs from stored
weights, choices and scores from stored outputs. The store itself is only read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from oodbench.core.errors import UserError
from oodbench.core.progress import Reporter
from oodbench.core.spec import Spec
from oodbench.runs.artefact import Artefact
from oodbench.runs.failures import Failures
from oodbench.runs.held import tuned
from oodbench.runs.outputs import Extraction
from oodbench.runs.scores import Scoring
from oodbench.runs.store import Lock, Store
from oodbench.runs.weights import Bench, Weights
from oodbench.suite.run import Run, TrainedRun


class Anew(Store):
    """A store in a folder of its own for what is made again; everything else is read from another store, to
    which nothing is written."""

    def __init__(self, root: Path, of: Store, kinds: Iterable[str]) -> None:
        super().__init__(root)
        self._of, self._kinds = of, frozenset(kinds)

    def get(self, kind: str, key: str, of: str = "") -> Artefact | None:
        """The artefact made again, or the other store's where its kind is not made again."""
        return super().get(kind, key, of) if kind in self._kinds else self._of.get(kind, key, of)

    def has(self, kind: str, key: str, of: str = "") -> bool:
        """Whether `get` would look at something."""
        return super().has(kind, key, of) if kind in self._kinds else self._of.has(kind, key, of)


class _Stored(Extraction):
    """Takes outputs as they are stored: what is not there is a failure."""

    def _extract(self, run: TrainedRun, name: str, view: Spec | None, held: Lock) -> None:
        raise UserError(f"the outputs of {name} are not in the store, or damaged")


def outputs(store: Store, run: Run, scratch: Path, device: str) -> Store:
    """The outputs of every set and view that a run's scorers and choices read, extracted again from the
    stored weights into `scratch`; what fails is left out. Raises where an ID set fails."""
    anew, failures = Anew(scratch, store, ["outputs"]), Failures()
    bench = Bench(anew, device, silent())
    extraction = Extraction(bench, Weights(bench))
    for scorer in run.scorers:
        if scorer.candidates and not scorer.reason:
            extraction.make(run, run.wanted_for(scorer), failures)
    extraction.make(run, tuned(store, run).wanted(), failures)
    return anew


def scores(store: Store, run: Run, scratch: Path, device: str) -> Store:
    """The choices and scores of a run made again from stored outputs into `scratch`; what fails is left out.
    Raises where an ID set fails."""
    anew, failures = Anew(scratch, store, ["choices", "scores"]), Failures()
    bench = Bench(anew, device, silent())
    stored = _Stored(bench, Weights(bench))
    scoring = Scoring(bench, stored)
    scoring.choices(run, failures)
    run = tuned(anew, run)
    stored.make(run, run.wanted(), failures)
    scoring.make(run, failures)
    return anew


def silent() -> Reporter:
    """What fails is told by whoever compares."""
    return Reporter(quiet=True, console=Console(quiet=True))
