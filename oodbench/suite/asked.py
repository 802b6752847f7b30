"""One row that a run owes."""

from __future__ import annotations

from typing import NamedTuple

from oodbench.suite.scorer_plan import ScorerPlan


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
