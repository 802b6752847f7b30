"""One run: a network to be trained (or loaded), the sets it meets, the scorers that read it, and the key of
every artefact of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from oodbench.core import registry
from oodbench.core.identity import fingerprint
from oodbench.core.method import Method
from oodbench.core.scorer import View
from oodbench.core.spec import Spec, identity_value
from oodbench.suite.entries import MethodEntry
from oodbench.suite.pairs import PairEntry
from oodbench.suite.sets import OOD_SHIFTS, PairSets, SetPlan
from oodbench.training.recipe import Recipe


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
    def label(self) -> str:
        """The scorer's label, and its regime where it is tuned: unique within a run."""
        return self.declared.label if self.tune == "none" else f"{self.declared.label} [{self.tune}]"


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


@dataclass
class Run:
    """One network to be trained (or loaded) and everything to be computed from it."""

    suite: str
    pair: PairEntry
    network: Spec | None
    method: MethodEntry
    recipe: Recipe
    seed: int
    data: PairSets | None
    sets: dict[str, SetPlan]
    scorers: list[ScorerPlan] = field(default_factory=list)
    parent: Run | None = None
    """The run whose weights training starts from."""
    members: tuple[Run, ...] = ()
    """The runs that an ensemble is made of; it has no weights of its own."""

    @property
    def place(self) -> dict[str, Any]:
        """The five columns that name a run in every table."""
        return {
            "pair": self.pair.label,
            "split": "" if self.pair.split is None else self.pair.split,
            "network": self.network.label if self.network else "",
            "method": self.method.label,
            "seed": self.seed,
        }

    @property
    def title(self) -> str:
        split = "" if self.pair.split is None else f" split {self.pair.split}"
        network = f" / {self.network.label}" if self.network else ""
        return f"{self.pair.label}{split}{network} / {self.method.label} / seed {self.seed}"

    @cached_property
    def key(self) -> str:
        """Key of the weights: exactly what they depend on."""
        identity: dict[str, Any] = {
            "artefact": "weights",
            "method": self.method.spec.identity,
            "seed": self.seed,
        }
        if self.data is None or self.network is None:
            identity["arrays"] = {s.name: s.digest for s in self.sets.values()}
        else:
            identity |= {
                "train": self.sets["train"].digest if "train" in self.sets else None,
                "val": self.sets["val"].digest if "val" in self.sets else None,
                "classes": self.data.classes,
                "geometry": list(self.data.geometry),
                "network": self.network.identity,
            }
            if self.built_method.provides == "loss":
                identity["recipe"] = identity_value(dict(self.recipe))
            if self.members:
                identity["members"] = [m.key for m in self.members]
            if self.parent is not None:
                identity["start"] = self.parent.key
            if "outliers" in self.built_method.needs:
                identity["outliers"] = self.data.outliers.digest if self.data.outliers is not None else None
        return fingerprint(identity)

    @cached_property
    def built_method(self) -> Method:
        return registry.build("method", self.method.spec)

    def outputs_key(self, name: str, view: Spec | None = None) -> str:
        """Key of one set's outputs through this run, plain or of a view."""
        identity: dict[str, Any] = {"artefact": "outputs", "set": self.sets[name].digest}
        if self.built_method.provides != "outputs":
            assert self.data is not None
            identity |= {"weights": self.key, "geometry": list(self.data.geometry)}
        return fingerprint(identity | ({"view": view.identity} if view is not None else {}))

    def scores_key(self, scorer: ScorerPlan, name: str) -> str:
        """Key of one scorer's scores on one set: the outputs it reads, and the scorer."""
        reads = {"test": self.outputs_key(name)}
        for role in ("train", "val"):
            if role in scorer.needs:
                reads[role] = self.outputs_key(role)
        if scorer.view is not None:
            reads["view"] = self.outputs_key(name, scorer.view)
        return fingerprint({"artefact": "scores", "reads": reads, "scorer": scorer.spec.identity})

    @property
    def scored_sets(self) -> list[str]:
        """Sets that every scorer scores: ID test and validation and the OOD sets."""
        return [s.name for s in self.sets.values() if s.role not in ("train", "tune")]

    def sets_of(self, scorer: ScorerPlan) -> list[str]:
        """The sets that one scorer scores: all of `scored_sets`, but under attack the attacked ones alone."""
        return list(scorer.sets) or self.scored_sets

    def asked(self) -> Iterator[Asked]:
        """Every row that this run owes, in the order of results.csv."""
        shifted = [s.name for s in self.sets.values() if s.role == "shifted"]
        groups: list[tuple[str, str, tuple[str, ...]]] = [("clean", "id", ("test",))]
        groups += [(name, "id", (name,)) for name in shifted]
        if shifted:
            groups.append(("clean", "full", ("test", *shifted)))
        for group in groups:
            yield Asked(*group, None)
            for scorer in self.scorers:
                if not scorer.attack:
                    yield from self._against_ood(Asked(*group, scorer))
        for scorer in self.scorers:
            if scorer.attack and scorer.spec.params["of"] is not None:
                side = "ID" if scorer.spec.params["direction"] == "raise" else "OOD"
                condition = f"{scorer.attack} on {side}"
                yield from self._against_ood(
                    Asked(condition, "id", ("test",), self._attacked_by(scorer), attack=scorer)
                )

    def _against_ood(self, row: Asked) -> Iterator[Asked]:
        yield row
        for s in self.sets.values():
            if s.role in OOD_SHIFTS:
                yield row._replace(ood=s.name, shift=s.role)
        for name, (shift, why) in (self.data.missing if self.data is not None else {}).items():
            yield row._replace(ood=name, shift=shift, missing=why.splitlines()[0])

    def _attacked_by(self, attack: ScorerPlan) -> ScorerPlan:
        """The plan of the scorer that a scorer under attack stands for."""
        label = attack.spec.params["of"].label
        same = (s for s in self.scorers if not s.attack and s.tune == "none" and s.declared.label == label)
        return next(same, attack)

    def choice_key(self, scorer: ScorerPlan) -> str:
        """Key of a tuned scorer's choice: the regime, the outputs that it sees, and what it is chosen
        from."""
        reads = {name: self.outputs_key(name) for name in self.tuning_sets(scorer)}
        points = [c.spec.identity for c in scorer.candidates]
        return fingerprint(
            {"artefact": "choice", "version": 1, "regime": scorer.tune, "reads": reads, "candidates": points}
        )

    def tuning_sets(self, scorer: ScorerPlan) -> list[str]:
        """The sets that choosing this scorer's parameters reads: train where it fits on it, validation, and
        the regime's OOD set."""
        train = ["train"] if any("train" in c.needs or prepares(c.view) for c in scorer.candidates) else []
        return [*train, "val", *([] if scorer.tune == "id" else [f"tune:{scorer.tune}"])]

    def wanted_for(self, scorer: ScorerPlan) -> list[tuple[str, Spec | None]]:
        """(set, view) of every extraction that choosing this scorer's parameters needs, plain ones first."""
        names = self.tuning_sets(scorer)
        views = {c.view.label: c.view for c in scorer.candidates if c.view is not None}
        of_views = [n for n in names if n != "train" or any("train" in c.needs for c in scorer.candidates)]
        plain: list[tuple[str, Spec | None]] = [(n, None) for n in names]
        return plain + [(n, v) for v in views.values() for n in of_views]

    def wanted(self) -> list[tuple[str, Spec | None]]:
        """(set, view) of every extraction that some scorer of this run needs; plain ones first, a view after
        what it is prepared with."""
        usable = [s for s in self.scorers if not s.reason and not s.candidates]
        names = list(self.scored_sets) if any(not s.reason for s in self.scorers) else ["test"]
        if any("train" in s.needs or prepares(s.view) for s in usable) and "train" in self.sets:
            names.append("train")
        plain: list[tuple[str, Spec | None]] = [(name, None) for name in names]
        views: dict[str, tuple[str, Spec | None]] = {}
        for s in usable:
            if s.view is not None:
                for name in [*self.sets_of(s), *(["train"] if "train" in s.needs else [])]:
                    views[self.outputs_key(name, s.view)] = (name, s.view)
        return plain + list(views.values())

    def extractions(self, wanted: Iterable[tuple[str, Spec | None]]) -> list[tuple[Run, str, Spec | None]]:
        """What has to be extracted, and through which run's network: an ensemble's sets go through each
        member."""
        return [(source, name, view) for source in self.members or (self,) for name, view in wanted]


def prepares(view: Spec | None) -> bool:
    """Whether a view fits something to the plain outputs of train and val before it runs."""
    return view is not None and getattr(view.component.target, "prepare", View.prepare) is not View.prepare
