"""What a run of a suite would make, what is stored of it, what waits for what, and how long it may take.
Nothing is made, not even a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from oodbench.runs.packing import addresses
from oodbench.runs.store import Store
from oodbench.runs.timings import Took
from oodbench.suite.keys import made_for
from oodbench.suite.plan import Plan
from oodbench.suite.run import Run

SINGLY = 5_000
"""At most so many artefacts are told one by one; of more, each run has a line."""


def lines_of(plan: Plan, store: Store | None) -> Iterator[str]:
    """The lines of a dry run.

    Args:
        plan: what is asked for.
        store: what is there, None where nothing is.

    Returns:
        A line for each artefact, or where they are many for each run; who waits for whose weights; what is
        left out; how long the trainings take that are not done yet; and the count.
    """
    stock = _Stock(plan, store)
    counts = [stock.count(run) for run in plan.runs]
    total = sum(c.made for c in counts)
    if total <= SINGLY:
        yield from _one_by_one(plan, stock)
    else:
        yield from (_line(run, c) for run, c in zip(plan.runs, counts, strict=True))
    yield from _waits(plan, stock, singly=total <= SINGLY)
    yield from (f"skipped  {line}" for line in plan.skipped)
    yield from _time(plan, stock)
    stored = sum(c.stored for c in counts)
    yield f"{plan.suite.name}: {len(plan.runs)} runs, {stored} of {total} artefacts stored"


class _Count(NamedTuple):
    """How many artefacts a run has that no run before it has, and how many of them are stored."""

    made: int
    stored: int


class _Stock:
    """What of a plan a store holds. The store's folders are listed, never asked for single artefacts, and the
    keys of a run are made only where something of it may be stored, or be another run's too."""

    def __init__(self, plan: Plan, store: Store | None) -> None:
        self.store = store
        kinds = ("weights", "outputs", "choices", "scores")
        self.loose = {kind: store.there(kind) if store is not None else set[str]() for kind in kinds}
        self._owners = Counter(key for run in plan.runs for key in {run.key, *(s.key for s in run.sources)})
        self._seen: set[tuple[str, str]] = set()
        self._weights: set[str] = set()
        self._alike: dict[tuple[int, ...], int] = {}

    def packed(self, run: Run) -> frozenset[tuple[str, str]]:
        """(kind, key) of what lies in the packs of a run."""
        if self.store is None:
            return frozenset()
        return frozenset().union(*(self.store.packed(of) for of in addresses(run)))

    def count(self, run: Run) -> _Count:
        """Of the runs of a plan, each asked for once, in its order."""
        new = {source.key for source in run.lineage} - self._weights
        self._weights |= new
        weights = _Count(len(new), len(new & self.loose["weights"]))
        packed = self.packed(run)
        alone = bool(run.sources) and all(
            self._owners[k] == 1 for k in (run.key, *(s.key for s in run.sources))
        )
        if not alone or packed or any(self.loose[kind] for kind in ("outputs", "choices", "scores")):
            names = self._names(run) - self._seen
            if not alone:
                self._seen |= names
            stored = sum(key in self.loose[kind] or (kind, key) in packed for kind, key in names)
            return _Count(weights.made + len(names), weights.stored + stored)
        # runs that share their plans of scorers and their sets differ in nothing but the weights' key
        alike = (id(run.sets), len(run.sources), *map(id, run.scorers))
        if alike not in self._alike:
            self._alike[alike] = len(self._names(run))
        return _Count(weights.made + self._alike[alike], weights.stored)

    def _names(self, run: Run) -> set[tuple[str, str]]:
        return {(m.kind, key) for m in made_for(run) if m.kind != "weights" for key in m.keys}


def _one_by_one(plan: Plan, stock: _Stock) -> Iterator[str]:
    told: set[tuple[str, str]] = set()
    for run in plan.runs:
        packed = stock.packed(run)
        for made in made_for(run):
            for key, title in zip(made.keys, made.titles, strict=True):
                if (made.kind, key) not in told:
                    told.add((made.kind, key))
                    there = key in stock.loose[made.kind] or (made.kind, key) in packed
                    yield f"{'stored ' if there else 'missing'}  {made.kind:<8} {key[:16]}  {title}"


def _line(run: Run, count: _Count) -> str:
    word = "stored " if count.stored == count.made else "partly " if count.stored else "missing"
    return f"{word}  run      {run.key[:16]}  {run.title}: {count.stored} of {count.made} artefacts"


def _waits(plan: Plan, stock: _Stock, singly: bool) -> Iterator[str]:
    """Whose weights have to be made first, those that a run starts from or is made of."""
    runs, first = 0, dict[str, None]()
    for run in plan.runs:
        others = [s for s in run.lineage if s is not run and s.key not in stock.loose["weights"]]
        runs += bool(others)
        first |= dict.fromkeys(s.key for s in others)
        for source in others if singly else ():
            yield f"waits    {run.title}, for the weights of {source.title}"
    if runs and not singly:
        yield f"waits    {runs} runs, for {len(first)} weights that they start from or are made of"


def _time(plan: Plan, stock: _Stock) -> Iterator[str]:
    """How long the trainings take whose weights are not there, from those of the same pair, network and
    recipe that are."""
    left = {s.key: s for run in plan.runs for s in run.lineage if s.key not in stock.loose["weights"]}
    if not left:
        return
    took = Took(plan, store=stock.store, stored=stock.loose["weights"])
    seconds = [took.usual(source) for source in left.values()]
    known = [s for s in seconds if s is not None]
    several = "training" if len(known) == 1 else "trainings"
    text = f"about {_spoken(sum(known))} for {len(known)} {several}, one after the other; " if known else ""
    if len(known) < len(left):
        others = len(left) - len(known)
        text += f"unknown for {others}, since none of the same pair, network and recipe is stored"
    yield f"time     {text.removesuffix('; ')}"


def _spoken(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
