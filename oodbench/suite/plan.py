"""From a Suite to the runs it asks for: data found, components checked, every artefact's key known, before
anything is paid for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oodbench.core import registry
from oodbench.core.dataset import Dataset
from oodbench.core.errors import ANYTHING, MissingData, NotApplicable, SpecError, UserError, reason_of
from oodbench.core.identity import fingerprint
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.spec import Spec
from oodbench.suite.applicable import plan_scorers
from oodbench.suite.array_sets import sets_of_arrays
from oodbench.suite.entries import MethodEntry, variants
from oodbench.suite.pairs import PairEntry
from oodbench.suite.run import ArrayRun, Run, TrainedRun
from oodbench.suite.sets import PairSets
from oodbench.suite.suite import Suite
from oodbench.training.initialise import fresh_weights, given_weights
from oodbench.training.recipe import Recipe
from oodbench.training.schedule import course_of


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
    for entry in suite.pairs:
        data = planning.data(entry) if images else None
        if images and data is None:
            continue
        for method, built in methods:
            planning.add(entry, method, built, data)
    return planning.done()


class _Planning:
    """A plan in the making, and what it has met that cannot run."""

    def __init__(self, suite: Suite, skip_missing: bool) -> None:
        self.suite, self.skip_missing = suite, skip_missing
        self.runs: list[Run] = []
        self.problems: list[str] = []
        self.skipped: list[str] = []
        self._sources: dict[str, Dataset] = {}
        self._probes: dict[str, tuple[Network | None, UserError | None]] = {}
        self._given: dict[str, str] = {}

    @contextlib.contextmanager
    def noting(self, whose: str) -> Iterator[None]:
        """What cannot run is noted as a problem or, where the user says so, as left out."""
        try:
            yield
        except MissingData as error:
            found = self.skipped if self.skip_missing else self.problems
            found += [f"{whose}: {line}" for line in str(error).splitlines()]
        except NotApplicable as error:
            (self.problems if self.suite.inapplicable == "refuse" else self.skipped).append(str(error))
        except SpecError as error:
            self.problems += [f"{whose}: {path}: {message}" for path, message in error.problems]
        except UserError as error:
            self.problems.append(str(error))
        except ANYTHING as error:  # a component may be a user's, and raise anything
            self.problems.append(f"{whose}: {reason_of(error)}")

    def data(self, entry: PairEntry) -> PairSets | None:
        """The sets of a pair; None where they are not there."""
        with self.noting(f"pair {entry.label!r}"):
            return PairSets(entry, self._sources, self.skip_missing)
        return None

    def add(self, entry: PairEntry, method: MethodEntry, built: Method, data: PairSets | None) -> None:
        """The runs of one method on one pair, each with its scorers."""
        with self.noting(f"method {method.label!r} on pair {entry.label!r}"):
            if built.provides == "outputs":
                self._add(_array_run(self.suite, entry, method, built), None)
                return
            assert data is not None
            _check_data(method, built, data)
            parts = _parts(self.suite, method, built)
            for part, inner in [(method, built), *parts]:
                _check_term(self.suite.recipe_of(entry, part), part, inner, data)
            for network in self.suite.networks:
                probe = self._probe(network, method, built, data)
                for part, inner in parts:
                    self._probe(network, part, inner, data)
                given = self._given_weights(network, data)
                for seed in self.suite.seeds[:1] if built.provides == "weights" else self.suite.seeds:
                    self._add(_run(self.suite, network, method, built, seed, data, given), probe)

    def _add(self, run: Run, network: Network | None) -> None:
        plan_scorers(run, self.suite, network, self.problems)
        self.runs.append(run)

    def _probe(self, network: Spec, method: MethodEntry, built: Method, data: PairSets) -> Network:
        """The network as the method sets it up, with a user's weights: built once per combination, to see
        what it has before any work is done."""
        place = fingerprint([network.identity, method.spec.identity, data.classes, list(data.geometry)])
        if place not in self._probes:
            try:
                made = fresh_weights(network, built, data.blank_task(), seed=0)
                if built.provides == "weights":
                    built.load(made)
                self._probes[place] = (made, None)
            except UserError as error:
                self._probes[place] = (None, error)
            except ANYTHING as error:
                who = f"network {network.label!r} with method {method.label!r}"
                self._probes[place] = (None, UserError(f"{who}: {reason_of(error)}"))
        net, wrong = self._probes[place]
        if isinstance(wrong, NotApplicable):
            raise NotApplicable(f"pair {data.entry.label!r}: {wrong}")
        if wrong is not None:
            raise wrong
        assert net is not None
        return net

    def _given_weights(self, network: Spec, data: PairSets) -> str:
        place = fingerprint([network.identity, data.classes, list(data.geometry)])
        if place not in self._given:
            self._given[place] = given_weights(network, data.blank_task())
        return self._given[place]

    def done(self) -> Plan:
        """The plan, refused where there is a problem or nothing to run."""
        where = self.suite.file or self.suite.name
        if self.problems:
            raise UserError("\n".join(f"{where}: {p}" for p in dict.fromkeys(self.problems)))
        if not self.runs:
            raise UserError(f"{where}: nothing is left to run: " + "; ".join(self.skipped))
        return Plan(self.suite, self.runs, list(dict.fromkeys(self.skipped)))


def _check_data(method: MethodEntry, built: Method, data: PairSets) -> None:
    """A pair has the sets that a method trains on."""
    trained: Method = getattr(built, "of", built) if built.provides == "members" else built
    if "outliers" in trained.needs and data.outliers is None:
        raise NotApplicable(
            f"method {method.label!r} needs outliers, but pair {data.entry.label!r} names none; add"
            " `outliers:` to the pair"
        )
    if built.provides in ("loss", "members") and "train" not in data.sets:
        raise NotApplicable(
            f"method {method.label!r} trains, but the ID set of pair {data.entry.label!r} has no training"
            " split"
        )


def _check_term(recipe: Recipe, method: MethodEntry, built: Method, data: PairSets) -> None:
    """A method that trains acts at some time in its training."""
    train = data.sets["train"].samples if built.provides == "loss" else None
    if train is None:
        return
    objection = built.objection(course_of(recipe, train.labels, data.classes))
    if objection:
        raise NotApplicable(
            f"method {method.label!r} on pair {data.entry.label!r}: its own term would never act: {objection}"
        )


def _run(
    suite: Suite,
    network: Spec,
    method: MethodEntry,
    built: Method,
    seed: int,
    data: PairSets,
    given: str,
) -> TrainedRun:
    """A run with what it starts from or is made of."""
    entry = data.entry
    if seed >= 2**63:
        raise UserError(f"method {method.label!r}: a member would have the seed {seed}, of more than 63 bits")
    run = TrainedRun(
        suite=suite.name, pair=entry, network=network, method=method, given=given,
        recipe=suite.recipe_of(entry, method), seed=seed, data=data, sets=data.sets,
    )  # fmt: skip
    if built.provides == "members":
        of = method.of(method.spec.params["of"])
        count = method.spec.params["members"]
        inner = registry.build("method", of.spec)
        run.members = tuple(
            _run(suite, network, of, inner, seed * count + i, data, given) for i in range(count)
        )
    elif method.start is not None:
        start = _start(suite, method.start)
        run.parent = _run(suite, network, start, registry.build("method", start.spec), seed, data, given)
    return run


def _start(suite: Suite, spec: Spec) -> MethodEntry:
    """The method that training starts from; its recipe is the suite's own where the suite trains it too."""
    same = (m for m in suite.methods if m.start is None and m.spec.identity == spec.identity)
    return next(same, variants(MethodEntry, "method", spec)[0])


def _parts(suite: Suite, method: MethodEntry, built: Method) -> list[tuple[MethodEntry, Method]]:
    """The methods whose weights this one starts from or is made of. UserError where they give none that
    could be."""
    found: list[tuple[MethodEntry, Method]] = []
    if built.provides == "members":
        of = method.of(method.spec.params["of"])
        found.append((of, registry.build("method", of.spec)))
        if found[0][1].provides != "loss":
            raise UserError(
                f"method {method.label!r}: its members should be trained, each from a seed of its own;"
                f" {of.spec.label!r} trains nothing"
            )
    if method.start is not None:
        if built.provides in ("weights", "outputs"):
            raise UserError(f"method {method.label!r} trains nothing; leave out `start:`")
        start = _start(suite, method.start)
        found.append((start, registry.build("method", start.spec)))
        if found[-1][1].provides not in ("loss", "weights"):
            raise UserError(
                f"method {method.label!r}: start: should be a method that gives the weights of one network;"
                f" {start.spec.label!r} does not"
            )
    return found


def _array_run(suite: Suite, entry: PairEntry, method: MethodEntry, built: Method) -> ArrayRun:
    """A run of outputs that the user's arrays bring."""
    found = sets_of_arrays(entry, built, method.label)
    return ArrayRun(
        suite=suite.name, pair=entry, method=method, seed=suite.seeds[0],
        recipe=suite.recipe_of(entry, method), sets=found.sets, held=found.held,
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
