"""Which scorers can score which runs, and why not."""

from __future__ import annotations

from collections.abc import Sequence

from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from oodbench.core.network import Network
from oodbench.core.scorer import Scorer, View
from oodbench.core.spec import Spec, spec_of
from oodbench.scoring import tuning
from oodbench.suite.run import ArrayRun, Run, TrainedRun
from oodbench.suite.scorer_plan import ScorerPlan
from oodbench.suite.sets import OOD_SHIFTS
from oodbench.suite.suite import Suite
from oodbench.suite.tuned import ScorerEntry


def plan_scorers(run: Run, suite: Suite, network: Network | None, problems: list[str]) -> None:
    """Add to a run the plans of the suite's scorers, tuned and attacked ones too. `network`: as the method
    sets it up, None where there is none. `problems`: gets what cannot be where the suite refuses that."""
    for entry in suite.scorers:
        plain, scorer = _scorer_plan(run, entry.spec, entry.spec, network)
        attacked = _attacked(run, plain, scorer, suite.attacks, network)
        tuned = [
            _tuned_plan(run, plain, tune, [_scorer_plan(run, p, entry.spec, network)[0] for p in points])
            for tune in suite.tune
            if (points := _candidates(entry, scorer, tune))
        ]
        # what is attacked has its declared parameters, and stands against clean rows of the same ones; where
        # a regime has nothing to choose between, the one row belongs to it too
        declared = "none" in suite.tune or attacked or len(tuned) < len(suite.tune)
        found = [*([plain] if declared else []), *tuned]
        for s in found:
            if s.reason and suite.inapplicable == "refuse":
                problems.append(f"{s.reason}; choose another, or write `inapplicable: skip` in the suite")
        run.scorers += [*found, *attacked]
    if network is not None and not _is_ensemble(run):
        run.scorers += [
            _under_attack(run, None, attack, "raise", ("test",), network) for attack in suite.attacks
        ]


def _candidates(entry: ScorerEntry, scorer: Scorer, tune: str) -> tuple[Spec, ...]:
    """What a regime chooses between; nothing where that is the declared parameters alone."""
    regime = tuning.Regime.of(tune)
    if regime.name == "none":
        return ()
    points = tuning.candidates(entry.spec, scorer, space=regime.space, search=entry.search)
    return () if [p.params for p in points] == [entry.spec.params] else points


def _is_ensemble(run: Run) -> bool:
    return isinstance(run, TrainedRun) and bool(run.members)


def view_free(scorer: Scorer) -> bool:
    """Whether a scorer reads logits and features alone, so that its score has a gradient in the inputs."""
    return scorer.view() is None and not scorer.extras


def _attacked(
    run: Run, plain: ScorerPlan, scorer: Scorer, attacks: Sequence[Spec], network: Network | None
) -> list[ScorerPlan]:
    """A scorer under each attack in both directions: OOD samples made to look known, ID samples made to look
    unknown. None where it cannot be attacked."""
    attackable = not plain.reason and scorer.differentiable and view_free(scorer)
    if not attackable or network is None or _is_ensemble(run):
        return []
    ood = tuple(s.name for s in run.sets.values() if s.role in OOD_SHIFTS)
    return [
        _under_attack(run, plain.spec, attack, direction, sets, network)
        for attack in attacks
        for direction, sets in (("lower", ood), ("raise", ("test",)))
    ]


def _under_attack(
    run: Run, spec: Spec | None, attack: Spec, direction: str, sets: tuple[str, ...], network: Network
) -> ScorerPlan:  # fmt: skip
    attacked = registry.resolve("scorer", {"attacked": {"of": spec, "by": attack, "direction": direction}})
    plan, _ = _scorer_plan(run, attacked, attacked, network)
    return plan._replace(attack=attack.label, sets=sets)


def _scorer_plan(run: Run, spec: Spec, declared: Spec, network: Network | None) -> tuple[ScorerPlan, Scorer]:
    scorer: Scorer = registry.build("scorer", spec)
    view: View | None = scorer.view()
    view_spec = None if view is None else spec_of(view)
    return (
        ScorerPlan(
            spec, scorer.needs, view_spec, _objection(run, scorer, spec.label, view, network), declared
        ),
        scorer,
    )


def _tuned_plan(run: Run, plain: ScorerPlan, tune: str, points: list[ScorerPlan]) -> ScorerPlan:
    regime, points = tuning.Regime.of(tune).name, [p for p in points if not p.reason] or points
    reason = plain.reason or points[0].reason
    if not reason and "val" not in run.sets:
        reason = f"scorer {plain.spec.label!r} cannot be tuned: pair {run.pair.label!r} has no validation set"
    if not reason and regime != "id":
        if not isinstance(run, TrainedRun):
            reason = (
                f"scorer {plain.spec.label!r}: tune: {regime} needs images and a network; arrays can be tuned"
                " by `tune: id` alone"
            )
        else:
            try:
                run.data.tuning_set(regime)
            except NotApplicable as error:
                reason = str(error)
    return plain._replace(tune=tune, candidates=tuple(points), reason=reason)


def _objection(run: Run, scorer: Scorer, label: str, view: View | None, network: Network | None) -> str:
    missing = [role for role in ("train", "val") if role in scorer.needs and role not in run.sets]
    where = (
        f"{run.network_label!r} trained by {run.method.label!r}"
        if run.sources
        else f"the arrays of {run.method.label!r}"
    )
    if missing:
        return (
            f"scorer {label!r} needs the {' and '.join(missing)} set of pair {run.pair.label!r}, which has"
            " none"
        )
    if _is_ensemble(run):
        if view is not None:
            return f"scorer {label!r} needs one network to look into, and {where} has several members"
        has_head, has_features, extras = False, False, {"members.logits"}
    elif isinstance(run, ArrayRun):
        if view is not None:
            return f"scorer {label!r} needs a network to look into, and {where} come without one"
        return _not_in_arrays(run, scorer, label, where)
    else:
        assert network is not None
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


def _not_in_arrays(run: ArrayRun, scorer: Scorer, label: str, where: str) -> str:
    """Why a scorer cannot score a set that it reads of the user's arrays."""
    for name, held in run.held.items():
        if name == "train" and "train" not in scorer.needs:
            continue
        if "head" in scorer.needs and "head" not in held:
            return (
                f"scorer {label!r} needs a linear head (weight and bias), and {where} have none for {name!r}"
            )
        if "features" in scorer.needs and "features" not in held:
            return f"scorer {label!r} needs features, and {where} hold only logits of {name!r}"
        for extra in sorted(scorer.extras):
            if f"extras.{extra}" not in held:
                return f"scorer {label!r} reads the head {extra!r}, and {where} have none for {name!r}"
    return ""
