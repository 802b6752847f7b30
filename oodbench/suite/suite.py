"""A suite, described once: its keys, what each may hold, and how it is written out again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
)

from oodbench.core import registry
from oodbench.core.errors import SpecError, UserError
from oodbench.core.signature import COMPONENT
from oodbench.core.spec import Spec, plain_value
from oodbench.evaluation.claims import Claim, parse_claims
from oodbench.evaluation.reference import parse_reference
from oodbench.scoring.extract import Extract
from oodbench.suite.entries import (
    Entry,
    MethodEntry,
    Name,
    NetworkEntry,
    Reads,
    array,
    listed,
    resolved_recipe,
    variants,
)
from oodbench.suite.pairs import PairEntry, pair_entries
from oodbench.suite.problems import Problems, validated
from oodbench.suite.tuned import REGIME_OR_SEVERAL, ScorerEntry, plain_tune, read_tune
from oodbench.training.recipe import Recipe


def _specs(kind: str, least: int = 1) -> Reads:
    def one(raw: Any, folder: Path | None) -> list[Spec]:
        made = [e.spec for e in variants(Entry, kind, raw, folder)]
        if kind == "view" and not set(made[0].params) >= _ATTACKS:
            choices = [n for n in registry.views if set(registry.views[n].model.model_fields) >= _ATTACKS]
            raise SpecError([("", f"{made[0].name!r} is no attack; allowed: {', '.join(choices)}")])
        return made

    return listed(
        [kind], one, lambda s: s.label, lambda s: s.plain | ({"as": s.alias} if s.alias else {}), least
    )


_ATTACKS = {"of", "direction", "eps"}
"""Parameters that make a view an attack."""


def _each_once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed stands twice")
    return seeds


def _recipe(raw: Any, info: ValidationInfo) -> Recipe:
    """The suite's own; it must also do together with the keys of each pair and method."""
    own = raw if isinstance(raw, Recipe) else resolved_recipe(raw)
    found = Problems()
    for m in info.data.get("methods", ()):
        for p in info.data.get("pairs", ()):
            if m.recipe or p.recipe:
                whose = f"of method {m.label!r}" if m.recipe else f"of pair {p.title!r}"
                one = Problems()
                one.tried("", resolved_recipe, {**dict(own), **p.recipe, **m.recipe})
                found += [(path, f"with the keys {whose}: {message}") for path, message in one]
    found.stop()
    return own


def _named(info: ValidationInfo) -> dict[str, Mapping[str, str]] | None:
    """Labels and names of what the suite holds, by kind; None where one of the lists is not right, since
    each name from it would then be told as a mistake."""
    if not {"pairs", "networks", "methods", "scorers"} <= info.data.keys():
        return None
    return {
        "pair": {p.label: p.label for p in info.data["pairs"]},
        "network": {n.label: n.spec.name for n in info.data["networks"]},
        "method": {m.label: m.spec.name for m in info.data["methods"]},
        "scorer": {s.label: s.name for s in info.data["scorers"]},
    }


def _claims(raw: Any, info: ValidationInfo) -> tuple[Claim, ...]:
    named = _named(info)
    if named is None:
        return ()
    return parse_claims(raw, named["method"], list(named["scorer"]), list(named["pair"]))


def _plain_claims(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    return [c.model_dump(mode="json") for c in claims]


def _reference(raw: Any, info: ValidationInfo) -> tuple[Mapping[str, Any], ...]:
    named = _named(info)
    return () if named is None else parse_reference(raw, {kind: list(names) for kind, names in named.items()})


def _keys_of(model: type[BaseModel]) -> BeforeValidator:
    """Mistakes inside a key that holds keys: told with its own names."""
    return BeforeValidator(lambda raw: raw if isinstance(raw, model) else validated(model, raw))


class Fit(BaseModel):
    """What scorers are fitted on. Normalisation, weights and all other sets are not touched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: (
        Annotated[float, Field(gt=0, le=1, strict=True)] | Annotated[int, Field(ge=1, strict=True)] | None
    ) = Field(None, description="of each class of train a share (0.1), or so many images (50)")

    @field_validator("train", mode="before")
    @classmethod
    def _amount(cls, raw: Any) -> Any:
        share, count = type(raw) is float and 0 < raw <= 1, type(raw) is int and raw >= 1
        if raw is not None and not share and not count:
            raise ValueError("should be a share of each class (0.1), or a number of images (50)")
        return raw


class Stored(BaseModel):
    """How outputs are stored. What is trained, and logits, are not touched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["fp32", "fp16"] = Field(
        "fp32", description="precision of stored features; fp16 halves a store and rounds features to 2^-11"
    )


class Suite(BaseModel):
    """What to run: pairs x networks x methods x seeds, scored by every scorer.

    Each field is a key of the suite's file and means the same here, with names resolved, defaults filled in
    and grids expanded. `load_suite` makes a Suite; its own constructor is not for that.

    Example:
        >>> suite = oodbench.load_suite("digits").restricted(seeds=[0])
        >>> [method.label for method in suite.methods]
        ['cross-entropy', 'label-smoothing', 'als']
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: Name = Field(description="names the folder of the results")
    pairs: Annotated[
        tuple[PairEntry, ...],
        listed(["pair", "inline-pair"], pair_entries, lambda p: p.title, lambda p: p.plain),
    ] = Field(description="ID/OOD pairs, by name or written out")
    networks: Annotated[
        tuple[NetworkEntry, ...],
        listed(
            ["network"], partial(variants, NetworkEntry, "network"), lambda n: n.label, lambda n: n.plain, 0
        ),
    ] = Field((), description="networks that are trained; only the method `outputs` does without")
    methods: Annotated[
        tuple[MethodEntry, ...],
        listed(["method"], partial(variants, MethodEntry, "method"), lambda m: m.label, lambda m: m.plain),
    ] = Field(description="training methods")
    scorers: Annotated[
        tuple[ScorerEntry, ...],
        listed(["scorer"], partial(variants, ScorerEntry, "scorer"), lambda s: s.label, lambda s: s.plain),
    ] = Field(description="OOD scorers")
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**63, strict=True)], ...],
        Field(min_length=1),
        AfterValidator(_each_once),
    ] = Field((0,), description="a training for each")
    recipe: Annotated[
        Recipe, Reads(_recipe, {COMPONENT: "recipe"}, lambda recipe: plain_value(dict(recipe)))
    ] = Field(default_factory=Recipe, validate_default=True, description="how weights are trained")
    plugins: tuple[Path, ...] = Field((), description="Python files that register components of your own")
    inapplicable: Literal["refuse", "skip"] = Field(
        "refuse", description="what becomes of a combination that cannot be"
    )
    tune: Annotated[tuple[str, ...], Reads(read_tune, REGIME_OR_SEVERAL, plain_tune)] = Field(
        ("none",), description="what scorers' parameters are chosen on; never test data"
    )
    attacks: Annotated[tuple[Spec, ...], _specs("view")] = Field(
        (), description="attacks on networks and scorers"
    )
    claims: Annotated[tuple[Claim, ...], Reads(_claims, array("claim"), _plain_claims)] = Field(
        (), description="statements that the results support, contradict or leave undecided"
    )
    reference: Annotated[tuple[Mapping[str, Any], ...], Reads(_reference, array("figure"), list)] = Field(
        (), description="published figures, to stand beside the suite's own results"
    )

    fit: Annotated[Fit, _keys_of(Fit)] = Field(Fit(), description="what scorers are fitted on")
    store: Annotated[Stored, _keys_of(Stored)] = Field(Stored(), description="how outputs are stored")
    extract: Annotated[Extract, _keys_of(Extract)] = Field(
        Extract(), description="how trained networks are run over a set"
    )

    _file: Path | None = PrivateAttr(None)

    def model_post_init(self, context: Any) -> None:
        self._file = (context or {}).get("file")

    @property
    def file(self) -> Path | None:
        """Where it was read from; None if not from a file."""
        return self._file

    def restricted(self, seeds: Sequence[int] | None = None, splits: Sequence[int] | None = None) -> Suite:
        """The same suite with these seeds instead of its own, and only the pairs at these splits. UserError
        names a split that is not in it."""
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
        return self.model_copy(
            update={"pairs": pairs, "seeds": self.seeds if seeds is None else tuple(seeds)}
        )

    def recipe_of(self, pair: PairEntry, method: MethodEntry) -> Recipe:
        """The suite's recipe, overridden by the pair's keys, then by the method's."""
        return resolved_recipe({**dict(self.recipe), **pair.recipe, **method.recipe})

    def dump(self) -> str:
        """The resolved suite as YAML: every default written out, grids expanded. It loads again."""
        data = self.plain() | {"plugins": [_relative(p, self.file) for p in self.plugins]}
        return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)

    def plain(self) -> dict[str, Any]:
        """The resolved suite as plain lists, mappings and values, plugins by their whole paths. `parse_suite`
        makes it a suite again, on this machine or another one that has the same files."""
        data = self.model_dump()
        data["plugins"] = [str(p) for p in self.plugins]
        data["fit"] = {k: v for k, v in data["fit"].items() if v is not None}
        data["store"] = {} if self.store == Stored() else data["store"]
        data["extract"] = self.extract.model_dump(exclude_defaults=True)
        newer = ("attacks", "claims", "reference", "fit", "store", "extract")  # than the first: where used
        for key in newer:
            if not data[key]:
                del data[key]
        return data


def _relative(path: Path, file: Path | None) -> str:
    if file is not None and path.is_relative_to(file.parent.resolve()):
        return str(path.relative_to(file.parent.resolve()))
    return path.name
