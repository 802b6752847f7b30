"""From a Suite to the runs it asks for: data found, components checked, every artefact's key known, before
anything is paid for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from oodbench.core import registry
from oodbench.core.dataset import Dataset, Geometry
from oodbench.core.errors import (
    ANYTHING,
    MissingData,
    NotApplicable,
    SpecError,
    UserError,
    lines_of_missing,
    reason_of,
)  # fmt: skip
from oodbench.core.identity import fingerprint
from oodbench.core.method import Method
from oodbench.core.network import Input, Network, Task
from oodbench.suite import trainable
from oodbench.suite.applicable import plan_scorers
from oodbench.suite.array_sets import sets_of_arrays
from oodbench.suite.entries import MethodEntry, NetworkEntry
from oodbench.suite.inputs import geometry_of, resolved, without_pair
from oodbench.suite.pairs import PairEntry
from oodbench.suite.per_seed import SEED, at_seed, is_per_seed, require_files
from oodbench.suite.run import ArrayRun, Run, TrainedRun
from oodbench.suite.sets import PairSets, blank_task, class_names
from oodbench.suite.suite import Suite
from oodbench.training.initialise import fresh_weights, given_weights


class _Fed(NamedTuple):
    """A network of the suite on a pair, what it is fed, and its task without the statistics."""

    network: NetworkEntry
    input: Input
    pair: PairEntry
    geometry: Geometry
    task: Task

    @property
    def place(self) -> str:
        """The same for the same network on images of the same kind."""
        of = [self.task.classes, list(self.task.names), self.geometry.identity]
        return fingerprint([self.network.spec.identity, *of])


@dataclass
class Plan:
    """Every run of a suite, in the order they are done, and what was left out with the reason."""

    suite: Suite
    runs: list[Run]
    skipped: list[str]


def make_plan(suite: Suite, *, skip_missing: bool = False) -> Plan:
    """Resolve data, check every combination, refuse what cannot run. Raises UserError with one line per
    problem."""
    methods = [(m, registry.build("method", m.spec)) for m in suite.methods]
    images = any(built.provides != "outputs" for _, built in methods)
    if images and not suite.networks:
        raise UserError(
            f"{suite.file or 'suite'}: networks: is missing; every method here but 'outputs' needs one:"
            f" {', '.join(registry.networks)}"
        )
    planning = _Planning(suite, skip_missing)
    fed = planning.fed() if images else {}
    methods = [(m, built) for m, built in methods if planning.check(m)]
    for entry in suite.pairs if not planning.problems else ():
        for method, _ in methods:
            planning.fit(entry, method, fed)
    if planning.problems:  # told before all data are read
        planning.done()
    for entry in suite.pairs:
        data = planning.data(entry, fed) if images else None
        if images and data is None:
            continue
        for method, built in methods:
            planning.add(entry, method, built, data, fed)
    return planning.done()


class _Planning:
    """A plan in the making, and what it has met that cannot run."""

    def __init__(self, suite: Suite, skip_missing: bool) -> None:
        self.suite, self.skip_missing = suite, skip_missing
        self.runs: list[Run] = []
        self.problems: list[str] = []
        self.skipped: list[str] = []
        self._absent: list[tuple[str, MissingData]] = []
        self._sources: dict[str, Dataset] = {}
        self._probes: dict[str, tuple[Network | None, UserError | None]] = {}
        self._given: dict[str, str] = {}

    @contextlib.contextmanager
    def noting(self, whose: str) -> Iterator[None]:
        """What cannot run is noted as a problem or, where the user says so, as left out."""
        try:
            yield
        except MissingData as error:
            self._absent.append((whose, error))
        except NotApplicable as error:
            (self.problems if self.suite.inapplicable == "refuse" else self.skipped).append(str(error))
        except SpecError as error:
            self.problems += [f"{whose}: {path}: {message}" for path, message in error.problems]
        except UserError as error:
            self.problems.append(str(error))
        except ANYTHING as error:  # a component may be a user's, and raise anything
            self.problems.append(f"{whose}: {reason_of(error)}")

    def fed(self) -> dict[str, Input]:
        """What each network is fed, as far as it or its entry says, by the network's label."""
        found = {}
        for network in self.suite.networks:
            with self.noting(f"network {network.label!r}"):
                found[network.label] = resolved(network.input, network.spec)
        return found

    def check(self, method: MethodEntry) -> bool:
        """The files of a method's own can be read. False where they are not there."""
        before = len(self._absent)
        for one, seed in trainable.trials_with_files(self.suite, method):
            with self.noting(f"method {method.label!r}"):
                require_files(one.spec, seed)
                with self.noting(f"method {method.label!r}, seed {seed}"):
                    registry.build("method", at_seed(one.spec, seed)).check()
        return len(self._absent) == before

    def fit(self, entry: PairEntry, method: MethodEntry, fed: Mapping[str, Input]) -> None:
        """A user's weights fit, where the pair says of its images what there is to know without reading
        one; else that is asked when they are."""
        size, names = entry.pair.geometry, class_names(entry.pair, self._sources)
        if size is None or not names:
            return
        for one, seed in trainable.trials_with_files(self.suite, method):
            if registry.build("method", one.spec).provides != "weights":
                continue
            for network in [n for n in self.suite.networks if n.label in fed]:
                with self.noting(f"method {method.label!r} on pair {entry.label!r}"):
                    geometry = geometry_of(fed[network.label], size, network.label)
                    task = blank_task("image", geometry, len(names), names)
                    self._probe(_Fed(network, fed[network.label], entry, geometry, task), one, seed)

    def data(self, entry: PairEntry, fed: Mapping[str, Input]) -> PairSets | None:
        """The sets of a pair; None where they are not there."""
        with self.noting(f"pair {entry.label!r}"):
            return PairSets(entry, self._sources, self.skip_missing, without_pair(list(fed.values())))
        return None

    def add(
        self, entry: PairEntry, method: MethodEntry, built: Method, data: PairSets | None,
        fed: Mapping[str, Input],
    ) -> None:  # fmt: skip
        """The runs of one method on one pair, each with its scorers."""
        with self.noting(f"method {method.label!r} on pair {entry.label!r}"):
            seeds = self._seeds(method, built)
            if built.provides == "outputs":
                arrays = [_array_run(self.suite, entry, method, seed) for seed in seeds]
                trainable.check_trials(method, {r.seed: r.sets["test"].digest for r in arrays})
                for run in arrays:
                    self._add(run, None)
                return
            assert data is not None
            trainable.check_data(method, built, data)
            parts = trainable.parts_of(self.suite, method, built)
            for part, inner in [(method, built), *parts]:
                trainable.check_term(self.suite.recipe_of(entry, part), part, inner, data)
            for network in [n for n in self.suite.networks if n.label in fed]:
                geometry = geometry_of(fed[network.label], data.geometry, network.label)
                with_what = _Fed(network, fed[network.label], entry, geometry, data.blank_task(geometry))
                given = self._given_weights(with_what)
                if is_per_seed(method.spec):
                    trainable.check_trials(method, {s: at_seed(method.spec, s).identity_key for s in seeds})
                for seed in seeds:
                    probes = [self._probe(with_what, m, seed) for m, _ in [(method, built), *parts]]
                    self._add(_run(self.suite, with_what, data, method, seed, given), probes[0])

    def _add(self, run: Run, network: Network | None) -> None:
        plan_scorers(run, self.suite, network, self.problems)
        self.runs.append(run)

    def _seeds(self, method: MethodEntry, built: Method) -> tuple[int, ...]:
        """The seeds that a method has a trial for: all of the suite's where it trains or has files of each,
        else 0, whatever the suite's are, since parts of it that are run apart would count it several times;
        what is left out is said."""
        seeds = self.suite.seeds
        if built.provides not in ("weights", "outputs") or is_per_seed(method.spec):
            return seeds
        if left := ", ".join(str(s) for s in seeds if s):
            self.skipped.append(
                f"method {method.label!r}: it is the same for every seed, so that it is one trial, that of"
                f" seed 0; seeds left out: {left} (files of one trial each are written with {SEED} in their"
                " path)"
            )
        return (0,)

    def _probe(self, fed: _Fed, method: MethodEntry, seed: int) -> Network:
        """The network as the method sets it up, with a user's weights: built once per combination, to see
        what it has before any work is done."""
        spec = at_seed(method.spec, seed)
        place = fingerprint([fed.place, spec.identity])
        if place not in self._probes:
            try:
                built: Method = registry.build("method", spec)
                made = fresh_weights(fed.network.spec, built, fed.task, seed=0)
                if built.provides == "weights":
                    built.load(made)
                self._probes[place] = (made, None)
            except UserError as error:
                self._probes[place] = (None, error)
            except ANYTHING as error:
                who = f"network {fed.network.label!r} with method {method.label!r}"
                self._probes[place] = (None, UserError(f"{who}: {reason_of(error)}"))
        net, wrong = self._probes[place]
        if isinstance(wrong, NotApplicable):
            raise NotApplicable(f"pair {fed.pair.label!r}: {wrong}")
        if wrong is not None:
            raise wrong
        assert net is not None
        return net

    def _given_weights(self, fed: _Fed) -> str:
        if fed.place not in self._given:
            self._given[fed.place] = given_weights(fed.network.spec, fed.task)
        return self._given[fed.place]

    def done(self) -> Plan:
        """The plan, refused where there is a problem or nothing to run."""
        where = self.suite.file or self.suite.name
        found = self.skipped if self.skip_missing else self.problems
        found += lines_of_missing(self._absent)
        if self.problems:
            raise UserError("\n".join(f"{where}: {p}" for p in dict.fromkeys(self.problems)))
        if not self.runs:
            raise UserError(f"{where}: nothing is left to run: " + "; ".join(self.skipped))
        return Plan(self.suite, self.runs, list(dict.fromkeys(self.skipped)))


def _run(
    suite: Suite, fed: _Fed, data: PairSets, method: MethodEntry, seed: int, given: str
) -> TrainedRun:  # fmt: skip
    """A run with what it starts from or is made of."""
    if seed >= 2**63:
        raise UserError(f"method {method.label!r}: a member would have the seed {seed}, of more than 63 bits")
    run = TrainedRun(
        suite=suite.name, pair=fed.pair, network=fed.network, fed=fed.input, method=method, given=given,
        recipe=suite.recipe_of(fed.pair, method), seed=seed, data=data, sets=data.sets,
        fit=suite.fit.train, stored=suite.store.dtype, extract=suite.extract,
    )  # fmt: skip
    if run.built_method.provides == "members":
        of, count = method.of(method.spec.params["of"]), method.spec.params["members"]
        run.members = tuple(_run(suite, fed, data, of, seed * count + i, given) for i in range(count))
    elif method.start is not None:
        run.parent = _run(suite, fed, data, trainable.start_of(suite, method.start), seed, given)
    return run


def _array_run(suite: Suite, entry: PairEntry, method: MethodEntry, seed: int) -> ArrayRun:
    """A run of outputs that the user's arrays bring."""
    found = sets_of_arrays(entry, registry.build("method", at_seed(method.spec, seed)), method.label)
    return ArrayRun(
        suite=suite.name, pair=entry, method=method, seed=seed, recipe=suite.recipe_of(entry, method),
        sets=found.sets, held=found.held, fit=suite.fit.train,
    )  # fmt: skip


def artefacts(plan: Plan) -> Sequence[tuple[str, str, str]]:
    """(kind, key, title) of every artefact of a plan, each once, in the order they are made."""
    found: dict[tuple[str, str], str] = {}
    for run in plan.runs:
        for source in run.lineage:
            found.setdefault(("weights", source.key), source.title)
        for source, name, view in run.extractions(run.wanted()):
            title = f"{source.title} / {name}" + (f" / view {view.label}" if view else "")
            found.setdefault(("outputs", source.outputs_key(name, view)), title)
        for scorer in run.scorers:
            if scorer.candidates and not scorer.reason:
                for source, name, view in run.extractions(run.wanted_for(scorer)):
                    title = f"{source.title} / {name}" + (f" / view {view.label}" if view else "")
                    found.setdefault(("outputs", source.outputs_key(name, view)), title)
                found.setdefault(
                    ("choices", run.choice_key(scorer)), f"{run.title} / {scorer.label}, then its scores"
                )
                continue
            for name in [] if scorer.reason else run.sets_of(scorer):
                found.setdefault(
                    ("scores", run.scores_key(scorer, name)), f"{run.title} / {name} / {scorer.spec.label}"
                )
    return [(kind, key, title) for (kind, key), title in found.items()]
