"""Makes what is missing of one run after another, in the order in which one thing needs another."""

from __future__ import annotations

from oodbench.core.progress import Reporter
from oodbench.runs.failures import Failures
from oodbench.runs.held import Held, tuned
from oodbench.runs.outputs import Extraction
from oodbench.runs.packing import pack_run
from oodbench.runs.scores import Scoring
from oodbench.runs.store import Store
from oodbench.runs.weights import Bench, Weights
from oodbench.suite.run import Run
from oodbench.training.processes import ALONE, Team

KINDS = ("weights", "outputs", "choices", "scores")


class Engine:
    """Weights, choices, outputs, scores: each is made where the store lacks it, and counted."""

    def __init__(self, store: Store, device: str, reporter: Reporter, team: Team = ALONE) -> None:
        self.bench = Bench(store, device, reporter, team)
        self.weights = Weights(self.bench)
        self.extraction = Extraction(self.bench, self.weights)
        self.scoring = Scoring(self.bench, self.extraction)

    @property
    def made(self) -> dict[str, int]:
        """How many artefacts of each kind were made, not found."""
        return {kind: self.bench.made[kind] for kind in KINDS}

    def work(self, run: Run) -> Held:
        """Everything of one run. Raises where it cannot be had: its weights, or its ID sets. A scorer that
        fails, its view, or an OOD set that cannot be read is told of in the result."""
        store, failures = self.bench.store, Failures()
        self.weights.make(run)
        self.scoring.choices(run, failures)
        run = tuned(store, run)
        self.extraction.make(run, run.wanted(), failures)
        self.scoring.make(run, failures)
        pack_run(store, run)
        return Held(store, run, failures)
