"""A suite file: YAML -> validated Suite. Every mistake of a file is found before any work, and all are shown at once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from oodbench.core import registry
from oodbench.core.errors import SpecError, UserError
from oodbench.core.registry import Spec
from oodbench.core.scorer import Claim, Geometry, Pair, Recipe
from oodbench.evaluation.reference import parse as parse_reference
from oodbench.evaluation.verdicts import parse as parse_claims
from oodbench.scoring.tuning import REGIMES
from oodbench.training.recipe import recipe_keys

T = TypeVar("T")

KEYS = (
    "name", "pairs", "networks", "methods", "scorers", "seeds", "recipe", "plugins", "inapplicable", "tune", "claims", "attacks",
    "reference",
)  # fmt: skip
REQUIRED = ("name", "pairs", "methods", "scorers")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_INLINE = ("name", "id", "near", "far", "shifted", "ood_val", "outliers", "geometry", "recipe")


@dataclass(frozen=True)
class PairEntry:
    """One pair of a suite at one split: its label, its parameters without the split, and recipe keys of its own."""

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
        return self.spec.label if self.start is None or self.spec.alias else f"{self.spec.label} from {self.start.label}"


@dataclass(frozen=True)
class Suite:
    """What to run: pairs x networks x methods x seeds, scored by every scorer. All names, parameters and grids are resolved."""

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
                    f"--splits: {missing[0]} is not in the suite; it has {', '.join(map(str, there)) or 'no splits'}"
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
            "methods": [_entry(m.spec, m.recipe) | ({"start": m.start.plain} if m.start else {}) for m in self.methods],
            "scorers": [_entry(s, {}) for s in self.scorers],
            "seeds": list(self.seeds),
            "recipe": registry.plain_value(dict(self.recipe)),
            "plugins": [_relative(p, self.file) for p in self.plugins],
            "inapplicable": self.inapplicable,
            "tune": list(self.tune),
            **({"attacks": [s.plain for s in self.attacks]} if self.attacks else {}),
            **({"claims": [c.model_dump(mode="json") for c in self.claims]} if self.claims else {}),
            **({"reference": [dict(f) for f in self.reference]} if self.reference else {}),
        }
        return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _entry(spec: Spec, recipe: Mapping[str, Any]) -> dict[str, Any]:
    return spec.plain | ({"as": spec.alias} if spec.alias else {}) | ({"recipe": dict(recipe)} if recipe else {})


def _relative(path: Path, file: Path | None) -> str:
    if file is not None and path.is_relative_to(file.parent.resolve()):
        return str(path.relative_to(file.parent.resolve()))
    return path.name


class _Problems(list[tuple[str, str]]):
    """Collects mistakes with their key paths instead of stopping at the first."""

    def tried(self, path: str, make: Callable[..., T], *args: Any, **keywords: Any) -> T | None:
        try:
            return make(*args, **keywords)
        except SpecError as error:
            self.extend((path + ("" if not p or not path or p[0] == "[" else ".") + p, m) for p, m in error.problems)
        except UserError as error:
            self.append((path, str(error)))
        return None


def load_suite(file: Path | str, plugins: Sequence[Path] = ()) -> Suite:
    """Read, check and resolve a suite file. Raises UserError with one line per mistake: file, key path, what is wrong, what is allowed."""
    file = Path(file)
    try:
        text = file.read_text()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); give the path of a suite file") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: is not a text file; give the path of a suite file") from None
    try:
        raw = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        raise UserError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    return parse_suite(raw, file=file, plugins=plugins)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, of which YAML would silently keep the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
        if isinstance(key, str) and key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
        seen.add(key if isinstance(key, str) else str(key))
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_suite(raw: Any, *, file: Path | None = None, plugins: Sequence[Path] = ()) -> Suite:
    """A Suite from its plain description, as `yaml.safe_load` returns it."""
    where = str(file) if file else "suite"
    if not isinstance(raw, Mapping):
        raise UserError(
            f"{where}: a suite should be a mapping with the keys {', '.join(REQUIRED)}, got {type(raw).__name__}"
        )
    found = _Problems()
    folder = file.parent if file else None
    loaded = _load_plugins(raw.get("plugins", []), folder, plugins, found)
    for key in raw:
        if key not in KEYS:
            found.append((str(key), f"unknown key{registry.meant(str(key), KEYS)}"))
    for key in REQUIRED:
        if key not in raw:
            found.append((key, "is missing"))

    name = raw.get("name", "")
    if "name" in raw and not (isinstance(name, str) and NAME.fullmatch(name)):
        found.append(("name", f"should be letters, digits and . _ + - only, since it names a folder, got {name!r}"))
    base = found.tried("recipe", _recipe, raw.get("recipe", {})) or Recipe()
    pairs = [p for path, entry in _entries(raw, "pairs", found) for p in found.tried(path, _pairs, entry, folder) or ()]
    networks = [s for s, _ in _components(raw, "networks", "network", folder, found)] if "networks" in raw else []
    methods = _methods(raw, folder, found)
    scorers = [s for s, _ in _components(raw, "scorers", "scorer", folder, found)]
    labels = {
        "pairs": [p.label if p.split is None else f"{p.label} split {p.split}" for p in pairs],
        "networks": [s.label for s in networks],
        "methods": [m.label for m in methods],
        "scorers": [s.label for s in scorers],
    }
    for kind, names in labels.items():
        for twice in sorted({n for n in names if names.count(n) > 1}):
            found.append((kind, f"{twice!r} stands twice; give one of them another name with `as:`"))
    for m in methods:
        for p in pairs:
            if m.recipe or p.recipe:
                where_from = f"methods.{m.label}.recipe" if m.recipe else f"pairs.{p.label}.recipe"
                found.tried(where_from, _recipe, {**dict(base), **p.recipe, **m.recipe})

    seeds = raw.get("seeds", [0])
    if (
        not isinstance(seeds, list)
        or not seeds
        or any(isinstance(s, bool) or not isinstance(s, int) or s < 0 for s in seeds)
    ):
        found.append(("seeds", f"should be a list of at least one integer >= 0, got {seeds!r}"))
        seeds = [0]
    elif len(set(seeds)) < len(seeds):
        found.append(("seeds", f"a seed stands twice in {seeds!r}"))
    inapplicable = raw.get("inapplicable", "refuse")
    if inapplicable not in ("refuse", "skip"):
        found.append(("inapplicable", f"should be refuse or skip, got {inapplicable!r}"))
    tune = raw.get("tune", ["none"])
    tune = [tune] if isinstance(tune, str) else tune
    if not isinstance(tune, list) or not tune or any(t not in REGIMES for t in tune) or len(set(tune)) < len(tune):
        found.append(("tune", f"should be one or several of {', '.join(REGIMES)}, got {raw.get('tune')!r}"))
        tune = ["none"]
    families = {m.label: m.spec.name for m in methods}
    attacks = [s for s, _ in _components(raw, "attacks", "view", folder, found)] if "attacks" in raw else []
    for s in attacks:
        if not {"of", "direction", "eps"} <= set(s.params):
            choices = [n for n in registry.views if "direction" in registry.views[n].model.model_fields]
            found.append(("attacks", f"{s.name!r} is no attack; allowed: {', '.join(choices)}"))
    stated: tuple[Claim, ...] | None = ()
    if "claims" in raw:
        stated = found.tried("claims", parse_claims, raw["claims"], families, labels["scorers"], [p.label for p in pairs])
    figures: tuple[Mapping[str, Any], ...] | None = ()
    if "reference" in raw:
        of_suite = {"pair": [p.label for p in pairs], "method": [m.label for m in methods], "scorer": labels["scorers"]}
        figures = found.tried("reference", parse_reference, raw["reference"], of_suite)
    if found:
        unique = list(dict.fromkeys(found))
        raise UserError(
            "\n".join(f"{where}: {path}: {message}" if path else f"{where}: {message}" for path, message in unique)
        )
    return Suite(
        name,
        tuple(pairs),
        tuple(networks),
        tuple(methods),
        tuple(scorers),
        tuple(seeds),
        base,
        tuple(loaded),
        inapplicable,
        tuple(tune),
        stated or (),
        tuple(attacks),
        figures or (),
        file,
    )


def _load_plugins(raw: Any, folder: Path | None, more: Sequence[Path], found: _Problems) -> list[Path]:
    if not isinstance(raw, list) or any(not isinstance(p, str) for p in raw):
        found.append(("plugins", f"should be a list of Python files, got {raw!r}"))
        raw = []
    files = [(Path(p) if folder is None else folder / p).resolve() for p in raw] + [p.resolve() for p in more]
    files = list(dict.fromkeys(files))
    for i, path in enumerate(files):
        found.tried(f"plugins[{i}]" if i < len(raw) else "--plugin", registry.load_plugin, path)
    return files


def _entries(raw: Mapping[str, Any], key: str, found: _Problems) -> list[tuple[str, Any]]:
    value = raw.get(key)
    if key not in raw:
        return []
    if not isinstance(value, list) or not value:
        found.append((key, f"should be a list of at least one entry, got {value!r}"))
        return []
    return [(f"{key}[{i}]", entry) for i, entry in enumerate(value)]


def _components(
    raw: Mapping[str, Any], key: str, kind: str, folder: Path | None, found: _Problems
) -> list[tuple[Spec, Mapping[str, Any]]]:
    """Specs with their recipe overrides; an entry is a name, {name: {...}}, with `as:` and (for methods) `recipe:` beside it."""
    made: list[tuple[Spec, Mapping[str, Any]]] = []
    for path, entry in _entries(raw, key, found):
        alias, recipe, component = "", {}, entry
        if isinstance(entry, Mapping):
            beside = {"as", "recipe", "start"} if kind == "method" else {"as"}
            alias, recipe = entry.get("as", ""), entry.get("recipe", {})
            component = {k: v for k, v in entry.items() if k not in beside}
            if not isinstance(alias, str) or ("as" in entry and not alias.strip()):
                found.append((f"{path}.as", f"should be a name, got {alias!r}"))
                alias = ""
            recipe = found.tried(f"{path}.recipe", recipe_keys, recipe) or {}
        variants = found.tried(path, registry.expand, component) or []
        specs = [found.tried(path, registry.resolve, kind, v, alias=alias, folder=folder) for v in variants]
        made += [(s, recipe) for s in specs if s is not None]
    return made


def _methods(raw: Mapping[str, Any], folder: Path | None, found: _Problems) -> list[MethodEntry]:
    """The methods of a suite; `start:` beside one names the method whose weights it goes on from."""
    made = []
    for path, entry in _entries(raw, "methods", found):
        start = None
        if isinstance(entry, Mapping) and "start" in entry:
            start = found.tried(f"{path}.start", registry.resolve, "method", entry["start"], folder=folder)
        one = _Problems()
        made += [MethodEntry(s, r, start) for s, r in _components({"methods": [entry]}, "methods", "method", folder, one)]
        found.extend((path + p.removeprefix("methods[0]"), m) for p, m in one)
    return made


def _recipe(raw: Any) -> Recipe:
    try:
        recipe = Recipe.model_validate(recipe_keys(raw))
    except pydantic.ValidationError as error:
        raise SpecError(
            [(p.removeprefix("."), m) for p, m in registry.problems_of(error, "", list(Recipe.model_fields))]
        ) from None
    found = _Problems()
    augment = [found.tried(f"augment[{i}]", registry.resolve, "augmentation", a) for i, a in enumerate(recipe.augment)]
    if found:
        raise SpecError(found)
    return recipe.model_copy(update={"augment": tuple(augment)})


def _within(path: str, make: Callable[..., T], *args: Any) -> T:
    """The same, with its mistakes placed at `path`."""
    found = _Problems()
    made = found.tried(path, make, *args)
    if made is None:
        raise SpecError(found)
    return made


def _pairs(entry: Any, folder: Path | None) -> list[PairEntry]:
    recipe: Mapping[str, Any] = {}
    if isinstance(entry, Mapping) and "name" in entry:
        return [_inline_pair(entry, folder)]
    alias = ""
    if isinstance(entry, Mapping):
        recipe, alias = entry.get("recipe", {}), entry.get("as", "")
        entry = {k: v for k, v in entry.items() if k not in ("recipe", "as")}
        recipe = _within("recipe", recipe_keys, recipe)
    made = []
    for variant in registry.expand(entry):
        spec = registry.resolve("pair", variant, alias=alias, folder=folder)
        pair: Pair = registry.build("pair", spec)
        _check_pair(pair, folder)
        split = spec.params.get("split")
        raw = spec.plain | ({"as": alias} if alias else {})
        made.append(PairEntry(spec.without("split").label, pair, spec.without("split").params, split, recipe, raw))
    return made


def _inline_pair(entry: Mapping[str, Any], folder: Path | None) -> PairEntry:
    found = _Problems()
    for key in entry:
        if key not in _INLINE:
            found.append((str(key), f"unknown key{registry.meant(str(key), _INLINE)}"))
    name = entry["name"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        found.append(("name", f"should be letters, digits and . _ + - only, got {name!r}"))
    if "id" not in entry:
        found.append(("id", "is missing: the ID data set"))
    if not entry.get("near") and not entry.get("far"):
        found.append(("near", "a pair needs at least one near- or far-OOD set"))
    sets: dict[str, dict[str, Any]] = {}
    for role in ("near", "far", "shifted"):
        sets[role] = {}
        value = entry.get(role) or []
        if not isinstance(value, (list, Mapping)):
            found.append((role, f"should be a list of data sets or a mapping {{name: data set}}, got {value!r}"))
            continue
        for i, item in enumerate(value.items() if isinstance(value, Mapping) else value):
            label, raw = item if isinstance(value, Mapping) else ("", item)
            spec = found.tried(f"{role}[{i}]", registry.resolve, "dataset", raw, folder=folder)
            if spec is not None:
                sets[role][str(label or spec.label)] = spec
    single = {
        key: found.tried(key, registry.resolve, "dataset", entry[key], folder=folder)
        for key in ("id", "ood_val", "outliers") if entry.get(key) is not None
    }  # fmt: skip
    geometry = entry.get("geometry")
    if geometry is not None:
        model = pydantic.TypeAdapter(Geometry)
        try:
            geometry = model.validate_python(tuple(geometry.values()) if isinstance(geometry, Mapping) else geometry)
        except pydantic.ValidationError:
            found.append(
                ("geometry", f"should be {{shape: [channels, height, width], resize: edge}}, got {geometry!r}")
            )
    recipe = found.tried("recipe", recipe_keys, entry.get("recipe", {})) or {}
    if found:
        raise SpecError(found)
    pair = Pair(
        single["id"],
        sets["near"],
        sets["far"],
        sets["shifted"],
        single.get("ood_val"),
        single.get("outliers"),
        geometry,
    )  # type: ignore[arg-type]
    _check_pair(pair, folder)
    raw = registry.plain_value({k: v for k, v in entry.items() if k != "recipe"})
    return PairEntry(name, pair, {}, None, recipe, raw)


def _check_pair(pair: Pair, folder: Path | None) -> None:
    """Every data set of a pair resolves, no OOD set is the ID set, and outliers for training are no OOD set."""
    if pair.id is None:
        return
    found = _Problems()
    tested: dict[str, str] = {}
    known = found.tried("id", registry.resolve, "dataset", pair.id, folder=folder)
    names = [*pair.near, *pair.far, *pair.shifted]
    for name in sorted({n for n in names if names.count(n) > 1}):
        found.append(("", f"the set name {name!r} stands twice in the pair"))
    for role, group in (("near", pair.near), ("far", pair.far), ("shifted", pair.shifted)):
        for name, raw in group.items():
            spec = found.tried(f"{role}.{name}", registry.resolve, "dataset", raw, folder=folder)
            if spec is not None and known is not None and role != "shifted" and spec.identity == known.identity:
                found.append((f"{role}.{name}", f"the OOD set is the ID set ({known.label}); name another data set"))
            if spec is not None and role != "shifted":
                tested[spec.identity_key] = name
    for role in ("ood_val", "outliers"):
        raw = getattr(pair, role)
        if raw is not None:
            spec = found.tried(role, registry.resolve, "dataset", raw, folder=folder)
            if role == "outliers" and spec is not None and spec.identity_key in tested:
                found.append((role, f"the outliers for training are the OOD set {tested[spec.identity_key]!r}; name another data set"))
    if found:
        raise SpecError(found)
