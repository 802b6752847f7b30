"""Which scorers can score which runs, and why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

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

T = TypeVar("T")


class _Built(NamedTuple):
    """A scorer that was built to see what it needs."""

    spec: Spec
    declared: Spec
    scorer: Scorer
    view: View | None
    view_spec: Spec | None

    @classmethod
    def of(cls, spec: Spec, declared: Spec) -> _Built:
        scorer: Scorer = registry.build("scorer", spec)
        view = scorer.view()
        return cls(spec, declared, scorer, view, None if view is None else spec_of(view))


class Scorers:
    """The scorers of a suite, tuned and attacked ones too. Each is built once, for all runs."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self._made: dict[tuple[str, ...], Any] = {}

    def plans(self, run: Run, network: Network | None, problems: list[str]) -> list[ScorerPlan]:
        """The plans of a run's scorers, which are those of every run that differs from it in the seed alone.
        `network`: as the method sets it up, None where there is none. `problems`: gets what cannot be where
        the suite refuses that."""
        made: list[ScorerPlan] = []
        for entry in self.suite.scorers:
            built = self._plain(entry)
            plain = _planned(run, built, network)
            attacked = self._attacked(run, plain, built.scorer, network)
            tuned = [
                _tuned_plan(run, plain, tune, [_planned(run, p, network) for p in points])
                for tune in self.suite.tune
                if (points := self._candidates(entry, tune))
            ]
            # what is attacked has its declared parameters, and stands against clean rows of the same ones;
            # where a regime has nothing to choose between, the one row belongs to it too
            declared = "none" in self.suite.tune or attacked or len(tuned) < len(self.suite.tune)
            found = [*([plain] if declared else []), *tuned]
            for s in found:
                if s.reason and self.suite.inapplicable == "refuse":
                    problems.append(f"{s.reason}; choose another, or write `inapplicable: skip` in the suite")
            made += [*found, *attacked]
        if network is not None and not _is_ensemble(run):
            made += [
                self._under_attack(run, None, attack, "raise", ("test",), network)
                for attack in self.suite.attacks
            ]
        return made

    def _attacked(
        self, run: Run, plain: ScorerPlan, scorer: Scorer, network: Network | None
    ) -> list[ScorerPlan]:
        """A scorer under each attack in both directions: OOD samples made to look known, ID samples made to
        look unknown. None where it cannot be attacked."""
        attackable = not plain.reason and scorer.differentiable and view_free(scorer)
        if not attackable or network is None or _is_ensemble(run):
            return []
        ood = tuple(s.name for s in run.sets.values() if s.role in OOD_SHIFTS)
        return [
            self._under_attack(run, plain.spec, attack, direction, sets, network)
            for attack in self.suite.attacks
            for direction, sets in (("lower", ood), ("raise", ("test",)))
        ]

    def _under_attack(
        self, run: Run, spec: Spec | None, attack: Spec, direction: str, sets: tuple[str, ...],
        network: Network,
    ) -> ScorerPlan:  # fmt: skip
        def make() -> _Built:
            raw = {"attacked": {"of": spec, "by": attack, "direction": direction}}
            attacked = registry.resolve("scorer", raw)
            return _Built.of(attacked, attacked)

        of = ("attacked", "") if spec is None else ("attacked scorer", spec.label)
        built = self._once(make, *of, attack.label, direction)
        return _planned(run, built, network)._replace(attack=attack.label, sets=sets)

    def _plain(self, entry: ScorerEntry) -> _Built:
        return self._once(lambda: _Built.of(entry.spec, entry.spec), "plain", entry.label)

    def _candidates(self, entry: ScorerEntry, tune: str) -> tuple[_Built, ...]:
        """What a regime chooses between; nothing where that is the declared parameters alone."""
        regime = tuning.Regime.of(tune)
        if regime.name == "none":
            return ()

        def make() -> tuple[_Built, ...]:
            scorer = self._plain(entry).scorer
            points = tuning.candidates(entry.spec, scorer, space=regime.space, search=entry.search)
            alone = [p.params for p in points] == [entry.spec.params]
            return () if alone else tuple(_Built.of(p, entry.spec) for p in points)

        return self._once(make, "candidates", entry.label, regime.space)

    def _once(self, make: Callable[[], T], *of: str) -> T:
        if of not in self._made:
            self._made[of] = make()
        found: T = self._made[of]
        return found


def _is_ensemble(run: Run) -> bool:
    return isinstance(run, TrainedRun) and bool(run.members)


def view_free(scorer: Scorer) -> bool:
    """Whether a scorer reads logits and features alone, so that its score has a gradient in the inputs."""
    return scorer.view() is None and not scorer.extras


def _planned(run: Run, built: _Built, network: Network | None) -> ScorerPlan:
    reason = _objection(run, built.scorer, built.spec.label, built.view, network)
    return ScorerPlan(built.spec, built.scorer.needs, built.view_spec, reason, built.declared)


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
