"""What stands in a suite's lists: a component, and the keys that may stand beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from oodbench.core import names, registry
from oodbench.core.errors import SpecError, UserError, shown
from oodbench.core.grids import expand
from oodbench.core.signature import COMPONENT, problems_of
from oodbench.core.spec import Spec, plain_value
from oodbench.suite import inputs
from oodbench.suite.problems import Problems, keys, validated
from oodbench.training.recipe import Recipe, recipe_keys

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class Reads:
    """Annotates the type of a key: how its value is read (`read(raw, info)`, which raises ValueError or
    UserError), its JSON schema, and how it is written out again."""

    def __init__(
        self,
        read: Callable[[Any, ValidationInfo], Any],
        schema: Mapping[str, Any],
        plain: Callable[[Any], Any] | None = None,
    ) -> None:
        self.read, self.schema, self.plain = read, schema, plain

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(self.plain) if self.plain else None
        return core_schema.with_info_plain_validator_function(self._placed, serialization=written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return dict(self.schema)

    def _placed(self, raw: Any, info: ValidationInfo) -> Any:
        try:
            return self.read(raw, info)
        except SpecError:
            raise
        except UserError as error:  # pydantic would not go on to the next key
            raise SpecError([("", str(error))]) from None


def folder_of(info: ValidationInfo) -> Path | None:
    """The folder of the suite's file, where relative paths start."""
    return (info.context or {}).get("folder")


def _name(value: Any, info: ValidationInfo) -> str:
    if not (isinstance(value, str) and _NAME.fullmatch(value)):
        raise ValueError("should be letters, digits and . _ + - only, since it names a folder")
    if len(value) > 100:
        raise ValueError("should have at most 100 characters, since it names a folder")
    return value


def _alias(value: Any, info: ValidationInfo) -> str:
    if not (isinstance(value, str) and value.strip()):
        raise ValueError("should be a name")
    if why := names.objection(value):
        raise SpecError([("", f"the name {shown(value)} {why}")])
    return value


def _component(kind: str = "") -> Callable[[Any, ValidationInfo], Spec]:
    """Resolves a component; the context says of which kind where `kind` does not."""

    def read(raw: Any, info: ValidationInfo) -> Spec:
        alias = "" if kind else info.data.get("alias", "")
        of = kind or (info.context or {})["kind"]
        return registry.resolve(of, raw, alias=alias, folder=folder_of(info))

    return read


def override(raw: Any) -> Mapping[str, Any]:
    """Recipe keys that stand beside a component, each right by itself: whether they fit the suite's own is
    known once these are."""
    given = recipe_keys(raw)
    found = Problems()
    try:
        Recipe.model_validate(given)
    except pydantic.ValidationError as error:
        if any(e["loc"] for e in error.errors()):  # else a rule over several keys
            found.extend(_of_recipe(error))
    augment = given.get("augment")
    for i, a in enumerate(augment if isinstance(augment, (list, tuple)) else ()):
        found.tried(f"augment[{i}]", registry.resolve, "augmentation", a)
    found.stop()
    return given


def resolved_recipe(raw: Any) -> Recipe:
    """A whole recipe, its augmentations resolved. Raises SpecError."""
    try:
        recipe = Recipe.model_validate(recipe_keys(raw))
    except pydantic.ValidationError as error:
        raise SpecError(_of_recipe(error)) from None
    found = Problems()
    augment = [
        found.tried(f"augment[{i}]", registry.resolve, "augmentation", a)
        for i, a in enumerate(recipe.augment)
    ]
    found.stop()
    return recipe.model_copy(update={"augment": tuple(augment)})


def _of_recipe(error: pydantic.ValidationError) -> list[tuple[str, str]]:
    return [(p.removeprefix("."), m) for p, m in problems_of(error, "", list(Recipe.model_fields))]


Name = Annotated[str, Reads(_name, {"type": "string", "pattern": f"^{_NAME.pattern}$"})]
Alias = Annotated[str, Reads(_alias, {"type": "string"})]
Override = Annotated[Mapping[str, Any], Reads(lambda raw, info: override(raw), {COMPONENT: "recipe"})]
Dataset = Annotated[Spec, Reads(_component("dataset"), {COMPONENT: "dataset"})]
Method = Annotated[Spec, Reads(_component("method"), {COMPONENT: "method"}, plain_value)]


class Entry(BaseModel):
    """A component in a list of a suite, ``knn`` or ``{knn: {k: 50}}``, and the keys that may stand beside
    it."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    alias: Alias = Field("", alias="as", description="its name in the results")
    spec: Annotated[Spec, Reads(_component(), {})] = Field(alias="")
    """It stands under no key of its own: the empty path below the entry's."""

    @classmethod
    def beside(cls) -> list[str]:
        """The keys that may stand beside the component."""
        return [k for k in keys(cls) if k]

    @property
    def label(self) -> str:
        return self.spec.label

    @property
    def plain(self) -> dict[str, Any]:
        """As the resolved suite file writes it."""
        return self.spec.plain | self.model_dump(by_alias=True, exclude_defaults=True, exclude={"spec"})


class NamedPair(Entry):
    """A pair by its name."""

    recipe: Override = Field({}, description="recipe keys of this pair's own")


class MethodEntry(Entry):
    """One training method of a suite, its recipe keys, and the method whose weights training starts from."""

    recipe: Override = Field({}, description="recipe keys of this method's own")
    start: Method | None = Field(None, description="the method whose weights training starts from")

    @property
    def label(self) -> str:
        if self.start is None or self.spec.alias:
            return self.spec.label
        return f"{self.spec.label} from {self.start.label}"

    def of(self, spec: Spec) -> MethodEntry:
        """Another method with the same keys beside it."""
        return self.model_copy(update={"spec": spec, "alias": spec.alias})


class NetworkEntry(Entry):
    """One network of a suite, and what it is fed where that is not the pair's."""

    input: Annotated[
        inputs.Given, Reads(lambda raw, info: inputs.read(raw), inputs.schema(), inputs.plain)
    ] = Field(None, description="what it is fed: auto (as its weights were trained), or mean, std, sizes")

    @property
    def label(self) -> str:
        fed = inputs.text(self.input)
        return f"{self.spec.label} [input {fed}]" if fed and not self.spec.alias else self.spec.label


E = TypeVar("E", bound=Entry)


def variants(model: type[E], kind: str, raw: Any, folder: Path | None = None) -> list[E]:
    """One entry of a list, which is several where ``{grid: [...]}`` stands for several values. Raises
    SpecError."""
    beside: dict[str, Any] = {}
    if isinstance(raw, Mapping):
        beside = {k: v for k, v in raw.items() if k in model.beside()}
        raw = {k: v for k, v in raw.items() if k not in beside}
    found = Problems()
    context = {"kind": kind, "folder": folder}
    made = [found.tried("", validated, model, {**beside, "": one}, context) for one in expand(raw)]
    found.stop()
    return [m for m in made if m is not None]


def _told_apart(made: Sequence[E]) -> list[E]:
    """Entries of one label, since their files have one name (``s0/best.ckpt``, ``s1/best.ckpt``), named by
    as much of the end of each path as tells them apart."""
    found = []
    for one in made:
        same = [m for m in made if m.label == one.label]
        label = one.label
        for key, path in one.spec.params.items():
            if not isinstance(path, Path) or one.spec.alias:
                continue
            others = {m.spec.params.get(key) for m in same} - {path, None}
            if others:
                ends = ("/".join(path.parts[-n:]) for n in range(2, len(path.parts) + 1))
                own = next((e for e in ends if not any(str(o).endswith(f"/{e}") for o in others)), str(path))
                label = label.replace(f"{key}={path.name}", f"{key}={own}")
        named = {"alias": label, "spec": replace(one.spec, alias=label)}
        found.append(one if label == one.label else one.model_copy(update=named))
    return found


def listed(
    items: Sequence[str],
    one: Callable[[Any, Path | None], Sequence[T]],
    label: Callable[[T], str],
    plain: Callable[[T], Any],
    least: int = 1,
) -> Reads:
    """A list of a suite: `one` reads an entry and gives its variants, whose labels differ, and `plain` writes
    one out again. `items` are the names of the entry's JSON schema."""

    def read(raw: Any, info: ValidationInfo) -> tuple[T, ...]:
        if not isinstance(raw, list) or len(raw) < least:
            raise ValueError("should be a list of at least one entry")
        found = Problems()
        made = [
            m for i, entry in enumerate(raw) for m in found.tried(f"[{i}]", one, entry, folder_of(info)) or ()
        ]
        if made and isinstance(made[0], Entry):
            made = _told_apart(made)  # type: ignore[type-var]
        labels = [label(m) for m in made]
        for twice in sorted({n for n in labels if labels.count(n) > 1}):
            found.append(("", f"{shown(twice)} stands twice; give one of them another name with `as:`"))
        for one_label in dict.fromkeys(labels):  # parameters stand in it, of any text and length
            if why := names.objection(one_label, most=10_000):
                found.append(("", f"the name {shown(one_label)} {why}; give it another with `as:`"))
        found.stop()
        return tuple(made)

    return Reads(read, array(*items, least=least), lambda made: [plain(m) for m in made])


def array(*items: str, least: int = 1) -> dict[str, Any]:
    """The JSON schema of a list; `schema.json_schema` puts what the items are in place."""
    one = [{COMPONENT: item} for item in items]
    of = one[0] if len(one) == 1 else {"anyOf": one}
    return {"type": "array", "items": of} | ({"minItems": least} if least else {})
