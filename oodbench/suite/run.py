"""One run: the sets it meets, the scorers that read it, and the key of every artefact of it. Its outputs come
from a network that is trained or loaded, or from the user's arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.identity import fingerprint
from oodbench.core.method import Method
from oodbench.core.network import Input, Task
from oodbench.core.spec import Spec, identity_value
from oodbench.scoring.extract import Extract
from oodbench.suite.entries import MethodEntry, NetworkEntry
from oodbench.suite.inputs import described
from oodbench.suite.keys import Keys, expected_of
from oodbench.suite.pairs import PairEntry
from oodbench.suite.per_seed import at_seed
from oodbench.suite.scorer_plan import ScorerPlan, prepares
from oodbench.suite.sets import PairSets, SetPlan, part_of
from oodbench.training.recipe import Recipe


@dataclass(kw_only=True)
class Run:
    """What is scored together: the outputs of one network, or arrays, on the sets of a pair."""

    suite: str
    pair: PairEntry
    method: MethodEntry
    recipe: Recipe
    seed: int
    sets: dict[str, SetPlan]
    scorers: list[ScorerPlan] = field(default_factory=list)
    stored: str = "fp32"
    """Precision of the stored features: fp32 or fp16."""
    fit: float | int | None = None
    """The part of the training images that scorers fit on, per class; None: all."""

    # -------------------------------------------------- what the two kinds of run differ in

    @property
    def network_label(self) -> str:
        """The network's label, empty where there is none."""
        raise NotImplementedError

    @property
    def sources(self) -> tuple[TrainedRun, ...]:
        """The runs through whose networks the sets are read."""
        raise NotImplementedError

    @property
    def lineage(self) -> tuple[TrainedRun, ...]:
        """The runs whose weights have to be made for this one, in the order they are made."""
        raise NotImplementedError

    @property
    def missing(self) -> Mapping[str, tuple[str, str]]:
        """OOD sets that are not here: {name: (role, reason)}."""
        raise NotImplementedError

    def _comes_from(self) -> dict[str, Any]:
        """What the key is made of, besides method and seed."""
        raise NotImplementedError

    def _read_through(self) -> dict[str, Any]:
        """What the keys of outputs are made of, besides the set."""
        raise NotImplementedError

    # -------------------------------------------------- what they share

    @property
    def place(self) -> dict[str, Any]:
        """The five columns that name a run in every table."""
        return {
            "pair": self.pair.label,
            "split": "" if self.pair.split is None else self.pair.split,
            "network": self.network_label,
            "method": self.method.label,
            "seed": self.seed,
        }

    @property
    def fed_text(self) -> str:
        """What the network was fed, where that is not the pair's: see `inputs.described`."""
        return ""

    @property
    def title(self) -> str:
        split = "" if self.pair.split is None else f" split {self.pair.split}"
        network = f" / {self.network_label}" if self.network_label else ""
        return f"{self.pair.label}{split}{network} / {self.method.label} / seed {self.seed}"

    @cached_property
    def spec(self) -> Spec:
        """The method with the files of this run's seed."""
        return at_seed(self.method.spec, self.seed)

    @cached_property
    def key(self) -> str:
        """Key of the weights: exactly what they depend on."""
        of = {"artefact": "weights", "method": self.spec.identity, "seed": self.seed}
        return fingerprint(of | self._comes_from())

    @cached_property
    def built_method(self) -> Method:
        return registry.build("method", self.spec)

    @cached_property
    def read(self) -> Mapping[str, SetPlan]:
        """The sets as outputs are made of them: of the training images the part that scorers fit on."""
        if self.fit is None or "train" not in self.sets:
            return self.sets
        return {**self.sets, "train": self._fitted_on(self.sets["train"], self.fit)}

    def _fitted_on(self, train: SetPlan, amount: float | int) -> SetPlan:
        return part_of(train, amount)

    @cached_property
    def expected(self) -> str:
        """One fingerprint of all that any key of this run is made of: two plans agree in it exactly where
        they agree in every key, and in what is left out. A plan made elsewhere, of other code or other
        data, is told by it without making the keys."""
        return expected_of(self)

    def outputs_key(self, name: str, view: Spec | None = None) -> str:
        """Key of one set's outputs through this run, plain or of a view."""
        return Keys(self).outputs((name,), view)[0]

    def scores_key(self, scorer: ScorerPlan, name: str) -> str:
        """Key of one scorer's scores on one set: the outputs it reads, and the scorer."""
        return Keys(self).scores(scorer, (name,))[0]

    @property
    def scored_sets(self) -> list[str]:
        """Sets that every scorer scores: ID test and validation and the OOD sets."""
        return [s.name for s in self.sets.values() if s.role not in ("train", "tune")]

    def sets_of(self, scorer: ScorerPlan) -> list[str]:
        """The sets that one scorer scores: all of `scored_sets`, but under attack the attacked ones alone."""
        return list(scorer.sets) if scorer.attack else self.scored_sets

    def choice_key(self, scorer: ScorerPlan) -> str:
        """Key of a tuned scorer's choice: the regime, the outputs that it sees, and what it is chosen
        from."""
        return Keys(self).choice(scorer)

    def tuning_sets(self, scorer: ScorerPlan) -> list[str]:
        """The sets that choosing this scorer's parameters reads: train where it fits on it, validation, and
        the regime's OOD set."""
        train = ["train"] if any("train" in c.needs or prepares(c.view) for c in scorer.candidates) else []
        return [*train, "val", *([] if scorer.regime == "id" else [f"tune:{scorer.regime}"])]

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
        names = scored = self.scored_sets
        if all(s.reason for s in self.scorers):
            names = ["test"]
        if "train" in self.sets and any("train" in s.needs or prepares(s.view) for s in usable):
            names = [*names, "train"]
        views: dict[tuple[str, str], tuple[str, Spec | None]] = {}
        for s in usable:
            if s.view is not None:
                of_view = s.view.identity_text
                for name in [*(s.sets if s.attack else scored), *(["train"] if "train" in s.needs else [])]:
                    views[self.read[name].digest, of_view] = (name, s.view)
        return [*((name, None) for name in names), *views.values()]

    def extractions(
        self, wanted: Iterable[tuple[str, Spec | None]]
    ) -> list[tuple[TrainedRun, str, Spec | None]]:
        """What has to be extracted, and through which run's network: an ensemble's sets go through each
        member, ready outputs through none."""
        return [(source, name, view) for source in self.sources for name, view in wanted]


@dataclass(kw_only=True)
class ArrayRun(Run):
    """Outputs that were computed elsewhere, read from the user's arrays."""

    held: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """What each set has beside logits, as `ArraySets.held`."""

    @property
    def network_label(self) -> str:
        return ""

    @property
    def sources(self) -> tuple[TrainedRun, ...]:
        return ()

    @property
    def lineage(self) -> tuple[TrainedRun, ...]:
        return ()

    @property
    def missing(self) -> Mapping[str, tuple[str, str]]:
        return {}  # arrays of every OOD set must be there

    def _comes_from(self) -> dict[str, Any]:
        return {"arrays": {s.name: s.digest for s in self.sets.values()}}

    def _read_through(self) -> dict[str, Any]:
        return {}


@dataclass(kw_only=True)
class TrainedRun(Run):
    """One network, trained or loaded, or an ensemble of them."""

    network: NetworkEntry
    data: PairSets
    fed: Input
    """What the network is fed, as far as that is not the pair's."""
    extract: Extract = field(default_factory=Extract)
    parent: TrainedRun | None = None
    """The run whose weights training starts from."""
    given: str = ""
    """Digest of the weights that the network brings with it; empty where it brings none."""
    members: tuple[TrainedRun, ...] = ()
    """The runs that an ensemble is made of; it has no weights of its own."""

    @property
    def network_label(self) -> str:
        return self.network.label

    @cached_property
    def geometry(self) -> Geometry:
        """What the network sees of an image."""
        return self.fed.geometry(self.data.geometry)

    @cached_property
    def task(self) -> Task:
        """What the network must fit."""
        return self.data.task(self.fed)

    @property
    def fed_text(self) -> str:
        return described(self.geometry, self.fed) if self.fed != Input() else ""

    @property
    def sources(self) -> tuple[TrainedRun, ...]:
        return self.members or (self,)

    @property
    def lineage(self) -> tuple[TrainedRun, ...]:
        if self.members:
            return tuple(r for m in self.members for r in m.lineage)
        return (*(self.parent.lineage if self.parent is not None else ()), self)

    @property
    def missing(self) -> Mapping[str, tuple[str, str]]:
        return self.data.missing

    def _fitted_on(self, train: SetPlan, amount: float | int) -> SetPlan:
        return self.data.fitted_on(amount)

    def _comes_from(self) -> dict[str, Any]:
        of: dict[str, Any] = {
            "train": self.sets["train"].digest if "train" in self.sets else None,
            "val": self.sets["val"].digest if "val" in self.sets else None,
            "classes": self.data.classes,
            "geometry": self.geometry.identity,
            "network": self.network.spec.identity,
        }
        if self.fed.mean is not None:
            of["normalised"] = [self.fed.mean, self.fed.std]
        if self.built_method.provides == "loss":
            of["recipe"] = identity_value(self.recipe.identity)
        if self.given:
            of["given"] = self.given
        if self.members:
            of["members"] = [m.key for m in self.members]
        if self.parent is not None:
            of["start"] = self.parent.key
        if "outliers" in self.built_method.needs:
            of["outliers"] = self.data.outliers.digest if self.data.outliers is not None else None
        return of

    def _read_through(self) -> dict[str, Any]:
        stored = {} if self.stored == "fp32" else {"stored": self.stored}
        of = {"weights": self.key, "geometry": self.geometry.identity}
        return {**of, **stored, **self.extract.identity}
