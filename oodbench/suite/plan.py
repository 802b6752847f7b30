"""From a Suite to the runs it asks for: data found, components checked, every artefact's key known, before anything is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oodbench.core import registry
from oodbench.core.errors import MissingData, NotApplicable, SpecError, UserError
from oodbench.core.registry import Spec
from oodbench.core.scorer import Dataset, Method, Network, Scorer, View, fingerprint
from oodbench.scoring import tuning as tune
from oodbench.suite.parse import MethodEntry, PairEntry, Suite
from oodbench.suite.run import Run, ScorerPlan
from oodbench.suite.sets import OOD_SHIFTS, PairData, SetPlan
from oodbench.training.loop import initialise


@dataclass
class Plan:
    """Every run of a suite, in the order they are done, and what was left out with the reason."""

    suite: Suite
    runs: list[Run]
    skipped: list[str]


def make_plan(suite: Suite, *, skip_missing: bool = False) -> Plan:
    """Resolve data, check every combination, refuse what cannot run. Raises UserError with one line per problem."""
    cache: dict[str, Dataset] = {}
    problems: list[str] = []
    skipped: list[str] = []
    runs: list[Run] = []
    probes: dict[str, tuple[Network | None, str]] = {}
    methods = [(m, registry.build("method", m.spec)) for m in suite.methods]
    if not suite.networks and any(m.provides != "outputs" for _, m in methods):
        raise UserError(
            f"{suite.file or 'suite'}: networks: is missing; every method here but 'outputs' needs one: {', '.join(registry.networks)}"
        )
    for entry in suite.pairs:
        data: PairData | None = None
        if any(m.provides != "outputs" for _, m in methods):
            try:
                data = PairData(entry, cache, skip_missing)
            except MissingData as error:
                (skipped if skip_missing else problems).extend(f"pair {entry.label!r}: {line}" for line in str(error).splitlines())
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
                        f"method {method.label!r} needs outliers, but pair {entry.label!r} names none; add `outliers:` to the pair"
                    )
                if built.provides in ("loss", "members") and "train" not in data.sets:
                    raise NotApplicable(
                        f"method {method.label!r} trains, but the ID set of pair {entry.label!r} has no training split"
                    )
                for network in suite.networks:
                    net = _probe(network, method, built, data, probes)
                    for seed in suite.seeds[:1] if built.provides == "weights" else suite.seeds:
                        run = _run(suite, entry, network, method, built, seed, data)
                        _plan_scorers(run, suite, net, problems)
                        runs.append(run)
            except MissingData as error:
                (skipped if skip_missing else problems).append(f"method {method.label!r} on pair {entry.label!r}: {error}")
            except NotApplicable as error:
                (problems if suite.inapplicable == "refuse" else skipped).append(str(error))
            except UserError as error:
                problems.append(str(error))
    if problems:
        raise UserError("\n".join(f"{suite.file or suite.name}: {p}" for p in dict.fromkeys(problems)))
    if not runs:
        raise UserError(f"{suite.file or suite.name}: nothing is left to run: " + "; ".join(skipped))
    return Plan(suite, runs, list(dict.fromkeys(skipped)))


def _run(suite: Suite, entry: PairEntry, network: Spec, method: MethodEntry, built: Method, seed: int, data: PairData) -> Run:
    """A run with what it starts from or is made of."""
    run = Run(suite.name, entry, network, method, suite.recipe_of(entry, method), seed, data, data.sets)
    if built.provides == "members":
        of = MethodEntry(method.spec.params["of"], method.recipe, method.start)
        count = method.spec.params["members"]
        inner = registry.build("method", of.spec)
        run.members = tuple(_run(suite, entry, network, of, inner, seed * count + i, data) for i in range(count))
    elif method.start is not None:
        same = (m for m in suite.methods if m.start is None and m.spec.identity == method.start.identity)
        start = next(same, MethodEntry(method.start, {}))  # its recipe is the suite's own where the suite trains it too
        run.parent = _run(suite, entry, network, start, registry.build("method", start.spec), seed, data)
    return run


def _array_sets(entry: PairEntry, method: Method) -> dict[str, SetPlan]:
    """The sets of a pair as the user's arrays bring them: test and the OOD sets must be there, train and val may be."""
    sets: dict[str, SetPlan] = {}
    roles = [("train", "train"), ("val", "val"), ("test", "test")]
    roles += [(name, shift) for shift in (*OOD_SHIFTS, "shifted") for name in getattr(entry.pair, shift)]
    for name, shift in roles:
        try:
            sets[name] = SetPlan(name, shift, method.digest(name), None)
        except MissingData:
            if name not in ("train", "val"):
                raise
    return sets


def _probe(
    network: Spec, method: MethodEntry, built: Method, data: PairData, probes: dict[str, tuple[Network | None, str]]
) -> Network:
    """The network as the method sets it up, built once per combination, to see what it has before any work is done."""
    place = fingerprint([network.identity, method.spec.identity, data.classes, list(data.geometry)])
    if place not in probes:
        try:
            probes[place] = (initialise(network, built, data.blank_task(), seed=0), "")
        except NotApplicable as error:
            probes[place] = (None, str(error))
    net, reason = probes[place]
    if net is None:
        raise NotApplicable(f"pair {data.entry.label!r}: {reason}")
    return net


def _plan_scorers(run: Run, suite: Suite, network: Network | None, problems: list[str]) -> None:
    for spec in suite.scorers:
        plain, scorer = _scorer_plan(run, spec, spec, network)
        found = [plain] if "none" in suite.tune else []
        points = tune.candidates(spec, scorer) if suite.tune != ("none",) else ()
        if not points and not found:
            found = [plain]  # nothing to tune: its one row belongs to every regime
        for regime in suite.tune if points else ():
            if regime != "none":
                found.append(_tuned_plan(run, plain, regime, [_scorer_plan(run, p, spec, network)[0] for p in points]))
        for s in found:
            if s.reason and suite.inapplicable == "refuse":
                problems.append(f"{s.reason}; choose another, or write `inapplicable: skip` in the suite")
        run.scorers += found
        if not plain.reason and scorer.differentiable and view_free(scorer) and network is not None and not run.members:
            run.scorers += [p for attack in suite.attacks for p in _attacked(run, spec, attack, network)]
    if network is not None and not run.members:
        run.scorers += [_under_attack(run, None, attack, "raise", ("test",), network) for attack in suite.attacks]


def view_free(scorer: Scorer) -> bool:
    """Whether a scorer reads logits and features alone, so that its score has a gradient in the inputs."""
    return scorer.view() is None and not scorer.extras


def _attacked(run: Run, spec: Spec, attack: Spec, network: Network) -> list[ScorerPlan]:
    """A scorer under attack in both directions: OOD samples made to look known, ID samples made to look unknown."""
    ood = tuple(s.name for s in run.sets.values() if s.shift in OOD_SHIFTS)
    return [_under_attack(run, spec, attack, "lower", ood, network), _under_attack(run, spec, attack, "raise", ("test",), network)]


def _under_attack(
    run: Run, spec: Spec | None, attack: Spec, direction: str, sets: tuple[str, ...], network: Network
) -> ScorerPlan:  # fmt: skip
    attacked = registry.resolve("scorer", {"attacked": {"of": spec, "by": attack, "direction": direction}})
    plan, _ = _scorer_plan(run, attacked, attacked, network)
    return plan._replace(attack=attack.label, sets=sets)


def _scorer_plan(run: Run, spec: Spec, declared: Spec, network: Network | None) -> tuple[ScorerPlan, Scorer]:
    scorer: Scorer = registry.build("scorer", spec)
    view: View | None = scorer.view()
    view_spec = None if view is None else view.spec  # type: ignore[attr-defined]
    return ScorerPlan(spec, scorer.needs, view_spec, _objection(run, scorer, spec.label, view, network), declared), scorer


def _tuned_plan(run: Run, plain: ScorerPlan, regime: str, points: list[ScorerPlan]) -> ScorerPlan:
    points = [p for p in points if not p.reason]
    reason = plain.reason
    if not reason and "val" not in run.sets:
        reason = f"scorer {plain.spec.label!r} cannot be tuned: pair {run.pair.label!r} has no validation set"
    if not reason and regime != "id":
        if run.data is None:
            reason = f"scorer {plain.spec.label!r}: tune: {regime} needs images and a network; arrays can be tuned by `tune: id` alone"
        else:
            try:
                run.data.tuning_set(regime)
            except NotApplicable as error:
                reason = str(error)
    return plain._replace(tune=regime, candidates=tuple(points), reason=reason)


def _objection(run: Run, scorer: Scorer, label: str, view: View | None, network: Network | None) -> str:
    missing = [role for role in ("train", "val") if role in scorer.needs and role not in run.sets]
    where = (
        f"{run.network.label!r} trained by {run.method.label!r}"
        if run.network is not None
        else f"the arrays of {run.method.label!r}"
    )
    if missing:
        return f"scorer {label!r} needs the {' and '.join(missing)} set of pair {run.pair.label!r}, which has none"
    if run.members:
        if view is not None:
            return f"scorer {label!r} needs one network to look into, and {where} has several members"
        has_head, has_features, extras = False, False, {"members.logits"}
    elif network is None:
        arrays = run.built_method.outputs("test")
        if view is not None:
            return f"scorer {label!r} needs a network to look into, and {where} come without one"
        has_head, has_features, extras = arrays.head is not None, arrays.has_features, set(arrays.extras)
    else:
        has_head, has_features, extras = network.linear_head() is not None, True, set(network.heads)
    if "head" in scorer.needs and not has_head:
        return f"scorer {label!r} needs a linear head (weight and bias), and {where} has none"
    if "features" in scorer.needs and not has_features:
        return f"scorer {label!r} needs features, and {where} hold only logits"
    absent = scorer.extras - extras
    if absent:
        return f"scorer {label!r} reads the head {sorted(absent)[0]!r}, which {where} does not have"
    objection = view.objection(network) if view is not None and network is not None else ""
    return f"scorer {label!r}: {objection}" if objection else ""


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
                for source, name, view in run.extractions(run.wanted_for(scorer)) if run.data is not None else ():
                    title = f"{source.title} / {name}" + (f" / view {view.label}" if view else "")
                    found.setdefault(("outputs", source.outputs_key(name, view)), title)
                found.setdefault(("choices", run.choice_key(scorer)), f"{run.title} / {scorer.label}, then its scores")
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
