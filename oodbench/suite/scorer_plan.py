"""One scorer as a run uses it: what it needs, why it cannot run, what it is to be chosen from."""

from __future__ import annotations

from typing import NamedTuple

from oodbench.core.scorer import View
from oodbench.core.spec import Spec
from oodbench.scoring.tuning import Regime


class ScorerPlan(NamedTuple):
    """A scorer of one run: its spec, what it needs, the view it reads, and why it cannot run here (empty: it
    can).

    Under a tuning regime `candidates` are what is to be chosen from; once that is done, they are empty,
    `spec` is the chosen one, `declared` the suite's, and `chosen` the record of the choice."""

    spec: Spec
    needs: frozenset[str]
    view: Spec | None
    reason: str
    declared: Spec
    tune: str = "none"
    candidates: tuple[ScorerPlan, ...] = ()
    chosen: str = ""
    attack: str = ""
    """The attack's label, where this is a scorer under attack; `sets` are then those that are attacked."""
    sets: tuple[str, ...] = ()

    @property
    def regime(self) -> str:
        """What the parameters are chosen on; `tune` says the space too, where it is not the scorer's own."""
        return Regime.of(self.tune).name

    @property
    def label(self) -> str:
        """The scorer's label, and its regime where it is tuned: unique within a run."""
        return self.declared.label if self.tune == "none" else f"{self.declared.label} [{self.tune}]"

    @property
    def identity_text(self) -> str:
        """What the keys and rows of a scorer are made of, as one line."""
        view = "" if self.view is None else self.view.identity_text
        inner = "".join(c.identity_text for c in self.candidates)
        of = (self.label, *sorted(self.needs), self.reason, self.attack, *self.sets)
        return f"{self.spec.identity_text} {view} {of!r} ({inner})"


def prepares(view: Spec | None) -> bool:
    """Whether a view fits something to the plain outputs of train and val before it runs."""
    return view is not None and getattr(view.component.target, "prepare", View.prepare) is not View.prepare
