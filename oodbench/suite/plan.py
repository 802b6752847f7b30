"""From a Suite to the runs it asks for: data found, components checked, every artefact's key known, before
anything is paid for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from oodbench.core import registry
from oodbench.core.errors import UserError, meant, shown
from oodbench.core.method import Method
from oodbench.suite import trainable
from oodbench.suite.entries import MethodEntry, NetworkEntry
from oodbench.suite.inputs import geometry_of
from oodbench.suite.keys import made_for
from oodbench.suite.pairs import PairEntry
from oodbench.suite.per_seed import at_seed, is_per_seed, require_files
from oodbench.suite.planning import Kept, Notes
from oodbench.suite.probing import Fed
from oodbench.suite.run import Run
from oodbench.suite.sets import PairSets, blank_task, class_names
from oodbench.suite.suite import Suite

T = TypeVar("T")


@dataclass
class Plan:
    """Every run of a suite, in the order they are done, and what was left out with the reason."""

    suite: Suite
    runs: list[Run]
    skipped: list[str]


def make_plan(suite: Suite, *, skip_missing: bool = False) -> Plan:
    """Resolve data, check every combination, refuse what cannot run. Raises UserError with one line per
    problem."""
    return Planner(suite, skip_missing).plan()


class Planner:
    """Plans a suite, or single runs of it. What runs share (the data of a pair, what networks look like, what
    scorers need) is read or built once, and kept for the next.

    Args:
        suite: what is asked for.
        skip_missing: leave out data that are not here.

    Example:
        >>> planner = Planner(load_suite("digits"))
        >>> planner.run({"pair": "digits", "split": 0, "network": "mlp", "method": "als", "seed": 2}).title
        'digits split 0 / mlp / als / seed 2'
    """

    def __init__(self, suite: Suite, skip_missing: bool = False) -> None:
        self.suite, self.skip_missing = suite, skip_missing
        self._kept = Kept(suite, skip_missing)

    def plan(self) -> Plan:
        """All runs. Raises UserError with one line per problem."""
        suite = self.suite
        return self._planned(_Part(suite.pairs, suite.networks, suite.methods))

    def run(self, place: Mapping[str, Any]) -> Run:
        """One run.

        Args:
            place: as `Run.place`: pair, split, network, method and seed; values are compared as text.

        Raises:
            UserError: the suite has no such run, or it cannot run: with the lines that a plan of the whole
                suite would have for it.
        """
        wanted = {key: str(place.get(key, "")) for key in ("pair", "split", "network", "method", "seed")}
        return self._planned(self._part(wanted)).runs[0]

    def _planned(self, part: _Part) -> Plan:
        notes = Notes(self.suite, self.skip_missing)
        runs = _Pass(self._kept, part, notes).runs()
        return Plan(self.suite, runs, notes.left_out(runs))

    def _part(self, wanted: Mapping[str, str]) -> _Part:
        """What one run is made of. UserError where the suite does not have it."""
        suite = self.suite
        title = wanted["pair"] + (f" split {wanted['split']}" if wanted["split"] else "")
        pair = self._one("pair", title, {p.title: p for p in suite.pairs})
        method = self._one("method", wanted["method"], {m.label: m for m in suite.methods})
        networks: dict[str, NetworkEntry | None] = {n.label: n for n in suite.networks}
        if self._kept.built(method).provides == "outputs":
            networks = {"": None}
        network = self._one("network", wanted["network"], networks)
        seeds = {str(s): s for s in self._kept.seeds(method)}
        seed = self._one("seed", wanted["seed"], seeds)
        return _Part((pair,), () if network is None else (network,), (method,), seed)

    def _one(self, what: str, label: str, there: Mapping[str, T]) -> T:
        if label in there:
            return there[label]
        where = self.suite.file or self.suite.name
        choices = list(there)[:_SHOWN]
        more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        raise UserError(f"{where}: no run with the {what} {shown(label)}{meant(label, choices)}{more}")


_SHOWN = 20
"""At most so many labels stand in a message."""


class _Part(NamedTuple):
    """What of a suite is planned; `seed` is one seed alone, where it is not None."""

    pairs: Sequence[PairEntry]
    networks: Sequence[NetworkEntry]
    methods: Sequence[MethodEntry]
    seed: int | None = None


class _Pass:
    """One way through a part of a suite, with what is noted on it."""

    def __init__(self, kept: Kept, part: _Part, notes: Notes) -> None:
        self.kept, self.part, self.notes, self.suite = kept, part, notes, kept.suite
        self.made: list[Run] = []

    def runs(self) -> list[Run]:
        """The runs that can be. What is known before data are read is told first, and then alone."""
        methods = [(m, self.kept.built(m)) for m in self.part.methods]
        images = any(built.provides != "outputs" for _, built in methods)
        if images and not self.suite.networks:
            raise UserError(
                f"{self.suite.file or 'suite'}: networks: is missing; every method here but 'outputs' needs"
                f" one: {', '.join(registry.networks)}"
            )
        networks = [n for n in self.part.networks if self._fed(n)] if images else []
        methods = [(m, built) for m, built in methods if self._check(m)]
        for pair in self.part.pairs if not self.notes.problems else ():
            for method, _ in methods:
                self._fit(pair, method, networks)
        if self.notes.problems:
            return []
        for pair in self.part.pairs:
            data = self._data(pair) if images else None
            if images and data is None:
                continue
            for method, built in methods:
                with self.notes.of(f"method {method.label!r} on pair {pair.label!r}"):
                    if built.provides == "outputs":
                        self._add_arrays(pair, method)
                    else:
                        assert data is not None
                        self._add_trained(data, method, built, networks)
        return self.made

    def _fed(self, network: NetworkEntry) -> bool:
        with self.notes.of(f"network {network.label!r}"):
            self.kept.fed(network)
            return True
        return False

    def _check(self, method: MethodEntry) -> bool:
        """The files of a method's own can be read. False where they are not there."""
        before = len(self.notes.absent)
        for one, seed in trainable.trials_with_files(self.suite, method, self.part.seed):
            with self.notes.of(f"method {method.label!r}"):
                require_files(one.spec, seed)
                with self.notes.of(f"method {method.label!r}, seed {seed}"):
                    registry.build("method", at_seed(one.spec, seed)).check()
        return len(self.notes.absent) == before

    def _fit(self, pair: PairEntry, method: MethodEntry, networks: Sequence[NetworkEntry]) -> None:
        """A user's weights fit, where the pair says of its images what there is to know without reading
        one; else that is asked when they are."""
        size, names = pair.pair.geometry, class_names(pair.pair, self.kept.sources)
        if size is None or not names:
            return
        for one, seed in trainable.trials_with_files(self.suite, method, self.part.seed):
            if registry.build("method", one.spec).provides != "weights":
                continue
            for network in networks:
                with self.notes.of(f"method {method.label!r} on pair {pair.label!r}"):
                    given = self.kept.fed(network)
                    geometry = geometry_of(given, size, network.label)
                    task = blank_task("image", geometry, len(names), names)
                    self.kept.probes.kind(Fed(network, given, pair, geometry, task), one, seed)

    def _data(self, pair: PairEntry) -> PairSets | None:
        """The sets of a pair; None where they are not there."""
        with self.notes.of(f"pair {pair.label!r}"):
            return self.kept.data(pair)
        return None

    def _seeds(self, method: MethodEntry) -> tuple[int, ...]:
        """The seeds of this part that a method has a trial for. What is left out is said."""
        if self.part.seed is not None:
            return (self.part.seed,)
        self.notes.skipped += self.kept.left_out_seeds(method)
        return self.kept.seeds(method)

    def _add_arrays(self, pair: PairEntry, method: MethodEntry) -> None:
        """The runs of outputs that are there, each with its scorers."""
        arrays = [self.kept.of_arrays(pair, method, seed) for seed in self._seeds(method)]
        trainable.check_trials(method, {r.seed: r.sets["test"].digest for r in arrays})
        for run in arrays:
            self._add(run, None)

    def _add_trained(
        self, data: PairSets, method: MethodEntry, built: Method, networks: Sequence[NetworkEntry]
    ) -> None:
        """The runs of one method on one pair, each with its scorers."""
        seeds, pair, kept = self._seeds(method), data.entry, self.kept
        trainable.check_data(method, built, data)
        parts = trainable.parts_of(self.suite, method, built)
        for part, inner in [(method, built), *parts]:
            trainable.check_term(self.suite.recipe_of(pair, part), part, inner, data)
        for network in networks:
            given = kept.fed(network)
            geometry = geometry_of(given, data.geometry, network.label)
            fed = Fed(network, given, pair, geometry, data.blank_task(geometry))
            weights = kept.probes.given(fed)
            if is_per_seed(method.spec):
                trainable.check_trials(method, {s: at_seed(method.spec, s).identity_key for s in seeds})
            run = kept.trained(fed, data, method, weights)
            for seed in seeds:
                for one, _ in [(method, built), *parts]:
                    kept.probes.kind(fed, one, seed)
                self._add(run(seed), fed)

    def _add(self, run: Run, fed: Fed | None) -> None:
        run.scorers = self.kept.scorers(run, fed, self.notes.problems)
        self.made.append(run)


def artefacts(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """(kind, key, title) of every artefact of a plan, each once, in the order they are made."""
    owners = Counter(key for run in plan.runs for key in {run.key, *(s.key for s in run.sources)})
    shared: set[str] = set()
    for run in plan.runs:
        own: set[str] = set()  # what no other run can have is forgotten with the run
        for made in made_for(run):
            seen = own if owners[made.of] == 1 else shared
            for key, title in zip(made.keys, made.titles, strict=True):
                if key not in seen:
                    seen.add(key)
                    yield made.kind, key, title
