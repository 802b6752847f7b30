"""From a Suite to the runs it asks for: data found, components checked, every artefact's key known, before
anything is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oodbench.core import registry
from oodbench.core.dataset import Dataset
from oodbench.core.errors import MissingData, NotApplicable, SpecError, UserError
from oodbench.core.identity import fingerprint
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.spec import Spec
from oodbench.suite.applicable import _plan_scorers
from oodbench.suite.entries import MethodEntry, variants
from oodbench.suite.pairs import PairEntry
from oodbench.suite.run import Run
from oodbench.suite.sets import OOD_SHIFTS, PairData, SetPlan
from oodbench.suite.suite import Suite
from oodbench.training.initialise import fresh_weights


@dataclass
class Plan:
    """Every run of a suite, in the order they are done, and what was left out with the reason."""

    suite: Suite
    runs: list[Run]
    skipped: list[str]


def make_plan(suite: Suite, *, skip_missing: bool = False) -> Plan:
    """Resolve data, check every combination, refuse what cannot run. Raises UserError with one line per
    problem."""
    cache: dict[str, Dataset] = {}
    problems: list[str] = []
    skipped: list[str] = []
    runs: list[Run] = []
    probes: dict[str, tuple[Network | None, str]] = {}
    methods = [(m, registry.build("method", m.spec)) for m in suite.methods]
    if not suite.networks and any(m.provides != "outputs" for _, m in methods):
        raise UserError(
            f"{suite.file or 'suite'}: networks: is missing; every method here but 'outputs' needs one:"
            f" {', '.join(registry.networks)}"
        )
    for entry in suite.pairs:
        data: PairData | None = None
        if any(m.provides != "outputs" for _, m in methods):
            try:
                data = PairData(entry, cache, skip_missing)
            except MissingData as error:
                (skipped if skip_missing else problems).extend(
                    f"pair {entry.label!r}: {line}" for line in str(error).splitlines()
                )
                continue
            except SpecError as error:
                problems += [f"pair {entry.label!r}: {p}: {m}" for p, m in error.problems]
                continue
            except UserError as error:
                problems.append(str(error))
                continue
        for method, built in methods:
            try:
                if built.provides == "outputs":
                    run = Run(
                        suite.name,
                        entry,
                        None,
                        method,
                        suite.recipe_of(entry, method),
                        suite.seeds[0],
                        None,
                        _array_sets(entry, built),
                    )
                    _plan_scorers(run, suite, None, problems)
                    runs.append(run)
                    continue
                assert data is not None
                trained: Method = getattr(built, "of", built) if built.provides == "members" else built
                if "outliers" in trained.needs and data.outliers is None:
                    raise NotApplicable(
                        f"method {method.label!r} needs outliers, but pair {entry.label!r} names none; add"
                        " `outliers:` to the pair"
                    )
                if built.provides in ("loss", "members") and "train" not in data.sets:
                    raise NotApplicable(
                        f"method {method.label!r} trains, but the ID set of pair {entry.label!r} has no"
                        " training split"
                    )
                for network in suite.networks:
                    net = _probe(network, method, built, data, probes)
                    for seed in suite.seeds[:1] if built.provides == "weights" else suite.seeds:
                        run = _run(suite, entry, network, method, built, seed, data)
                        _plan_scorers(run, suite, net, problems)
                        runs.append(run)
            except MissingData as error:
                (skipped if skip_missing else problems).append(
                    f"method {method.label!r} on pair {entry.label!r}: {error}"
                )
            except NotApplicable as error:
                (problems if suite.inapplicable == "refuse" else skipped).append(str(error))
            except UserError as error:
                problems.append(str(error))
    if problems:
        raise UserError("\n".join(f"{suite.file or suite.name}: {p}" for p in dict.fromkeys(problems)))
    if not runs:
        raise UserError(f"{suite.file or suite.name}: nothing is left to run: " + "; ".join(skipped))
    return Plan(suite, runs, list(dict.fromkeys(skipped)))


def _run(
    suite: Suite,
    entry: PairEntry,
    network: Spec,
    method: MethodEntry,
    built: Method,
    seed: int,
    data: PairData,
) -> Run:
    """A run with what it starts from or is made of."""
    run = Run(suite.name, entry, network, method, suite.recipe_of(entry, method), seed, data, data.sets)
    if built.provides == "members":
        of = method.of(method.spec.params["of"])
        count = method.spec.params["members"]
        inner = registry.build("method", of.spec)
        run.members = tuple(
            _run(suite, entry, network, of, inner, seed * count + i, data) for i in range(count)
        )
    elif method.start is not None:
        same = (m for m in suite.methods if m.start is None and m.spec.identity == method.start.identity)
        start = next(
            same, variants(MethodEntry, "method", method.start)[0]
        )  # its recipe is the suite's own where the suite trains it too
        run.parent = _run(suite, entry, network, start, registry.build("method", start.spec), seed, data)
    return run


def _array_sets(entry: PairEntry, method: Method) -> dict[str, SetPlan]:
    """The sets of a pair as the user's arrays bring them: test and the OOD sets must be there, train and val
    may be."""
    sets: dict[str, SetPlan] = {}
    roles = [(role, role) for role in ("train", "val", "test")]
    roles += [(name, role) for role in (*OOD_SHIFTS, "shifted") for name in getattr(entry.pair, role)]
    for name, role in roles:
        try:
            sets[name] = SetPlan(name, role, method.digest(name), None)
        except MissingData:
            if name not in ("train", "val"):
                raise
    return sets


def _probe(
    network: Spec,
    method: MethodEntry,
    built: Method,
    data: PairData,
    probes: dict[str, tuple[Network | None, str]],
) -> Network:
    """The network as the method sets it up, built once per combination, to see what it has before any work is
    done."""
    place = fingerprint([network.identity, method.spec.identity, data.classes, list(data.geometry)])
    if place not in probes:
        try:
            probes[place] = (fresh_weights(network, built, data.blank_task(), seed=0), "")
        except NotApplicable as error:
            probes[place] = (None, str(error))
    net, reason = probes[place]
    if net is None:
        raise NotApplicable(f"pair {data.entry.label!r}: {reason}")
    return net


def artefacts(plan: Plan) -> Sequence[tuple[str, str, str]]:
    """(kind, key, title) of every artefact of a plan, each once, in the order they are made."""
    found: dict[tuple[str, str], str] = {}
    for run in plan.runs:
        for source in _lineage(run) if run.data is not None else ():
            found.setdefault(("weights", source.key), source.title)
        for source, name, view in run.extractions(run.wanted()) if run.data is not None else ():
            title = f"{source.title} / {name}" + (f" / view {view.label}" if view else "")
            found.setdefault(("outputs", source.outputs_key(name, view)), title)
        for scorer in run.scorers:
            if scorer.candidates and not scorer.reason:
                for source, name, view in (
                    run.extractions(run.wanted_for(scorer)) if run.data is not None else ()
                ):
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


def _lineage(run: Run) -> list[Run]:
    """The runs whose weights have to be made for this one, in the order they are made."""
    if run.members:
        return [r for m in run.members for r in _lineage(m)]
    return [*(_lineage(run.parent) if run.parent is not None else ()), run]
