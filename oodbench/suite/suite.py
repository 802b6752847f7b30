"""A suite: what it asks for, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from oodbench.core.dataset import Pair
from oodbench.core.errors import UserError
from oodbench.core.spec import Spec, plain_value
from oodbench.evaluation.claims import Claim
from oodbench.suite.problems import _recipe
from oodbench.training.recipe import Recipe


@dataclass(frozen=True)
class PairEntry:
    """One pair of a suite at one split: its label, its parameters without the split, and recipe keys of its
    own."""

    label: str
    pair: Pair
    params: Mapping[str, Any]
    split: int | None
    recipe: Mapping[str, Any]
    raw: Any
    """As the resolved suite file writes it."""


@dataclass(frozen=True)
class MethodEntry:
    """One training method of a suite and recipe keys of its own."""

    spec: Spec
    recipe: Mapping[str, Any]
    start: Spec | None = None
    """The method whose weights training starts from."""

    @property
    def label(self) -> str:
        return (
            self.spec.label
            if self.start is None or self.spec.alias
            else f"{self.spec.label} from {self.start.label}"
        )


@dataclass(frozen=True)
class Suite:
    """What to run: pairs x networks x methods x seeds, scored by every scorer. All names, parameters and
    grids are resolved."""

    name: str
    pairs: tuple[PairEntry, ...]
    networks: tuple[Spec, ...]
    methods: tuple[MethodEntry, ...]
    scorers: tuple[Spec, ...]
    seeds: tuple[int, ...]
    recipe: Recipe
    plugins: tuple[Path, ...] = ()
    inapplicable: str = "refuse"
    tune: tuple[str, ...] = ("none",)
    claims: tuple[Claim, ...] = ()
    attacks: tuple[Spec, ...] = ()
    reference: tuple[Mapping[str, Any], ...] = ()
    file: Path | None = None

    def restricted(self, seeds: Sequence[int] | None = None, splits: Sequence[int] | None = None) -> Suite:
        """The same suite with these seeds instead of its own, and only the pairs at these splits."""
        pairs = self.pairs
        if splits is not None:
            there = sorted({p.split for p in pairs if p.split is not None})
            missing = [s for s in splits if s not in there]
            if missing:
                raise UserError(
                    f"--splits: {missing[0]} is not in the suite; it has"
                    f" {', '.join(map(str, there)) or 'no splits'}"
                )
            pairs = tuple(p for p in pairs if p.split in splits)
        return dataclasses.replace(self, pairs=pairs, seeds=tuple(seeds) if seeds is not None else self.seeds)

    def recipe_of(self, pair: PairEntry, method: MethodEntry) -> Recipe:
        """The suite's recipe, overridden by the pair's keys, then by the method's."""
        return _recipe({**dict(self.recipe), **pair.recipe, **method.recipe})

    def dump(self) -> str:
        """The resolved suite as YAML: every default written out, grids expanded. It loads again."""
        data: dict[str, Any] = {
            "name": self.name,
            "pairs": [p.raw | ({"recipe": dict(p.recipe)} if p.recipe else {}) for p in self.pairs],
            "networks": [_entry(s, {}) for s in self.networks],
            "methods": [
                _entry(m.spec, m.recipe) | ({"start": m.start.plain} if m.start else {}) for m in self.methods
            ],
            "scorers": [_entry(s, {}) for s in self.scorers],
            "seeds": list(self.seeds),
            "recipe": plain_value(dict(self.recipe)),
            "plugins": [_relative(p, self.file) for p in self.plugins],
            "inapplicable": self.inapplicable,
            "tune": list(self.tune),
            **({"attacks": [s.plain for s in self.attacks]} if self.attacks else {}),
            **({"claims": [c.model_dump(mode="json") for c in self.claims]} if self.claims else {}),
            **({"reference": [dict(f) for f in self.reference]} if self.reference else {}),
        }
        return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _entry(spec: Spec, recipe: Mapping[str, Any]) -> dict[str, Any]:
    return (
        spec.plain | ({"as": spec.alias} if spec.alias else {}) | ({"recipe": dict(recipe)} if recipe else {})
    )


def _relative(path: Path, file: Path | None) -> str:
    if file is not None and path.is_relative_to(file.parent.resolve()):
        return str(path.relative_to(file.parent.resolve()))
    return path.name
