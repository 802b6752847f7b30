"""What a suite says of tuning: the regimes, and the search space that stands beside a scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationInfo

from oodbench.core import registry
from oodbench.core.errors import SpecError, meant, shown
from oodbench.core.grids import MOST_VARIANTS
from oodbench.core.signature import COMPONENT
from oodbench.core.spec import Spec, plain_value
from oodbench.scoring.tuning import REGIMES, SPACES, Regime
from oodbench.suite.entries import Entry, Reads, array, folder_of
from oodbench.suite.problems import Problems


def _regime(raw: Any) -> Regime:
    """A regime from ``ood-val`` or ``{ood-val: {space: openood}}``."""
    name: Any = raw
    given: Any = {}
    if isinstance(raw, Mapping) and len(raw) == 1:
        ((name, given),) = raw.items()
    if not isinstance(name, str) or name not in REGIMES:
        raise SpecError([("", f"should be one or several of {', '.join(REGIMES)}, got {shown(raw)}")])
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise SpecError([(name, f"should be a mapping such as {{space: openood}}, got {shown(given)}")])
    unknown = next((k for k in given if k != "space"), None)
    if unknown is not None:
        raise SpecError([(name, f"unknown key {shown(unknown)}{meant(str(unknown), ['space'])}")])
    space = given.get("space", SPACES[0])
    if space not in SPACES:
        raise SpecError([(f"{name}.space", f"should be one of {', '.join(SPACES)}, got {shown(space)}")])
    if name == "none" and "space" in given:
        raise SpecError([(f"{name}.space", "tunes nothing, so it has no space; allowed with the others")])
    return Regime(name, space)


def read_tune(raw: Any, info: ValidationInfo) -> tuple[str, ...]:
    """The labels of the regimes of a suite's `tune:`, see `tuning.Regime`."""
    several = raw if isinstance(raw, (list, tuple)) else [raw]
    if not several:
        raise ValueError(f"should be one or several of {', '.join(REGIMES)}")
    found = Problems()
    made = [
        found.tried(f"[{i}]" if isinstance(raw, (list, tuple)) else "", _regime, one)
        for i, one in enumerate(several)
    ]
    found.stop()
    labels = [m.label for m in made if m is not None]
    twice = next((one for one in labels if labels.count(one) > 1), None)
    if twice is not None:
        raise SpecError([("", f"the regime {twice!r} stands twice")])
    return tuple(labels)


def plain_tune(labels: Sequence[str]) -> list[Any]:
    """Regimes as a suite's file writes them."""
    made = [Regime.of(label) for label in labels]
    return [m.name if m.space == SPACES[0] else {m.name: {"space": m.space}} for m in made]


def tune_schema() -> dict[str, Any]:
    """The JSON schema of one regime."""
    space = {
        "type": ["object", "null"],
        "properties": {"space": {"enum": list(SPACES)}},
        "additionalProperties": False,
    }
    return {
        "anyOf": [
            {"enum": list(REGIMES)},
            {
                "type": "object",
                "properties": {r: space if r != "none" else {"type": ["object", "null"], "maxProperties": 0}
                               for r in REGIMES},
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
            },
        ]
    }  # fmt: skip


REGIME_OR_SEVERAL = {"anyOf": [{COMPONENT: "regime"}, array("regime")]}


def _search(raw: Any, info: ValidationInfo) -> Mapping[str, tuple[Any, ...]] | None:
    """The space of a scorer: each value is one that the parameter takes."""
    spec: Spec | None = info.data.get("spec")
    if raw is None or spec is None:  # what is wrong with the scorer is said already
        return None
    if not isinstance(raw, Mapping) or not raw:
        raise SpecError([("", f"should be a mapping {{parameter: [values]}}, got {shown(raw)}")])
    found = Problems()
    made: dict[str, tuple[Any, ...]] = {}
    points = 1
    for name, values in raw.items():
        if name not in spec.params:
            found.append(("", f"unknown parameter {shown(name)}{meant(str(name), list(spec.params))}"))
        elif not isinstance(values, (list, tuple)) or not values:
            found.append((name, f"should be a list of at least one value, got {shown(values)}"))
        elif len(values) > MOST_VARIANTS // points:
            found.append((name, f"makes more than {MOST_VARIANTS} points; give fewer values"))
        else:
            points *= len(values)
            tried = [found.tried("", _value, spec, name, v, folder_of(info)) for v in values]
            made[name] = tuple(tried)
    found.stop()
    return made


def _value(spec: Spec, name: str, value: Any, folder: Any) -> Any:
    """The value as the scorer's parameter holds it. SpecError where it takes none such."""
    try:
        given = {name: value}
        needed = {k: v for k, v in spec.params.items() if k != name}
        return registry.resolve(spec.kind, {spec.name: needed | given}, folder=folder).params[name]
    except SpecError as error:
        below = [(p.removeprefix(f"{spec.name}."), m) for p, m in error.problems]
        raise SpecError(below) from None


class ScorerEntry(Entry):
    """One scorer of a suite, and the values of its parameters that tuning chooses between."""

    search: Annotated[
        Mapping[str, tuple[Any, ...]] | None,
        Reads(
            _search,
            {"type": "object", "minProperties": 1, "additionalProperties": {"type": "array", "minItems": 1}},
            plain_value,
        ),
    ] = Field(None, description="values that tuning tries, in the place of the scorer's own search space")

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def identity(self) -> dict[str, Any]:
        return self.spec.identity
