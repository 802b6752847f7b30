"""The rows that a run owes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from oodbench.suite.run import Run
from oodbench.suite.scorer_plan import ScorerPlan
from oodbench.suite.sets import OOD_SHIFTS


class Asked(NamedTuple):
    """One row that a run owes: which ID images, under which condition, read by which scorer, against which
    OOD set."""

    condition: str
    """``clean``, the name of a covariate-shifted set, or an attack and what it is on."""
    id_set: str
    """``id``: the images of one set; ``full``: clean and covariate-shifted ones together."""
    id_names: tuple[str, ...]
    """The sets that count as ID."""
    scorer: ScorerPlan | None
    """None: the network alone."""
    ood: str = ""
    """Empty: ID alone. A scorer's row of that kind is there only where the scorer has scores."""
    shift: str = "none"
    attack: ScorerPlan | None = None
    """The scorer under attack, in the rows of an attack; `scorer` is then the one that it attacks."""
    missing: str = ""
    """Why the OOD set is not here."""

    @property
    def reason(self) -> str:
        """Why this row is skipped, as far as the plan knows; empty where it is to be measured."""
        plans = [p for p in (self.attack, self.scorer) if p is not None]
        return next((p.reason for p in plans if p.reason), self.missing)


def asked_of(run: Run) -> Iterator[Asked]:
    """Every row that a run owes, in the order of results.csv."""
    shifted = [s.name for s in run.sets.values() if s.role == "shifted"]
    groups: list[tuple[str, str, tuple[str, ...]]] = [("clean", "id", ("test",))]
    groups += [(name, "id", (name,)) for name in shifted]
    if shifted:
        groups.append(("clean", "full", ("test", *shifted)))
    against = [(s.name, s.role, "") for s in run.sets.values() if s.role in OOD_SHIFTS]
    against += [(name, shift, why.splitlines()[0]) for name, (shift, why) in run.missing.items()]
    for group in groups:
        yield Asked(*group, None)
        for scorer in run.scorers:
            if not scorer.attack:
                yield Asked(*group, scorer)
                for ood, shift, why in against:
                    yield Asked(*group, scorer, ood, shift, None, why)
    for scorer in run.scorers:
        if scorer.attack and scorer.spec.params["of"] is not None:
            side = "ID" if scorer.spec.params["direction"] == "raise" else "OOD"
            of = (f"{scorer.attack} on {side}", "id", ("test",), _attacked_by(run, scorer))
            yield Asked(*of, attack=scorer)
            for ood, shift, why in against:
                yield Asked(*of, ood, shift, scorer, why)


def _attacked_by(run: Run, attack: ScorerPlan) -> ScorerPlan:
    """The plan of the scorer that a scorer under attack stands for."""
    label = attack.spec.params["of"].label
    return next(s for s in run.scorers if not s.attack and s.tune == "none" and s.label == label)
