"""The plain description of a suite, checked and resolved: a Suite. Every mistake of a file is found before
any work, and all are shown at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oodbench.core import registry
from oodbench.core.errors import UserError, meant
from oodbench.core.spec import Spec, expand
from oodbench.evaluation.claims import Claim, parse_claims
from oodbench.evaluation.reference import parse_reference
from oodbench.scoring.tuning import REGIMES
from oodbench.suite.pairs import NAME, _pairs
from oodbench.suite.problems import _Problems, _recipe
from oodbench.suite.suite import MethodEntry, Suite
from oodbench.training.recipe import Recipe, recipe_keys

KEYS = (
    "name", "pairs", "networks", "methods", "scorers", "seeds", "recipe", "plugins", "inapplicable", "tune",
    "claims", "attacks",
    "reference",
)  # fmt: skip
REQUIRED = ("name", "pairs", "methods", "scorers")


def parse_suite(raw: Any, *, file: Path | None = None, plugins: Sequence[Path] = ()) -> Suite:
    """A Suite from its plain description, as `yaml.safe_load` returns it."""
    where = str(file) if file else "suite"
    if not isinstance(raw, Mapping):
        raise UserError(
            f"{where}: a suite should be a mapping with the keys {', '.join(REQUIRED)}, got"
            f" {type(raw).__name__}"
        )
    found = _Problems()
    folder = file.parent if file else None
    loaded = _load_plugins(raw.get("plugins", []), folder, plugins, found)
    for key in raw:
        if key not in KEYS:
            found.append((str(key), f"unknown key{meant(str(key), KEYS)}"))
    for key in REQUIRED:
        if key not in raw:
            found.append((key, "is missing"))

    name = raw.get("name", "")
    if "name" in raw and not (isinstance(name, str) and NAME.fullmatch(name)):
        found.append(
            ("name", f"should be letters, digits and . _ + - only, since it names a folder, got {name!r}")
        )
    base = found.tried("recipe", _recipe, raw.get("recipe", {})) or Recipe()
    pairs = [
        p
        for path, entry in _entries(raw, "pairs", found)
        for p in found.tried(path, _pairs, entry, folder) or ()
    ]
    networks = (
        [s for s, _ in _components(raw, "networks", "network", folder, found)] if "networks" in raw else []
    )
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
    if (
        not isinstance(tune, list)
        or not tune
        or any(t not in REGIMES for t in tune)
        or len(set(tune)) < len(tune)
    ):
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
        stated = found.tried(
            "claims", parse_claims, raw["claims"], families, labels["scorers"], [p.label for p in pairs]
        )
    figures: tuple[Mapping[str, Any], ...] | None = ()
    if "reference" in raw:
        of_suite = {
            "pair": [p.label for p in pairs],
            "method": [m.label for m in methods],
            "scorer": labels["scorers"],
        }
        figures = found.tried("reference", parse_reference, raw["reference"], of_suite)
    if found:
        unique = list(dict.fromkeys(found))
        raise UserError(
            "\n".join(
                f"{where}: {path}: {message}" if path else f"{where}: {message}" for path, message in unique
            )
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
    """Specs with their recipe overrides; an entry is a name, {name: {...}}, with `as:` and (for methods)
    `recipe:` beside it."""
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
        variants = found.tried(path, expand, component) or []
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
        made += [
            MethodEntry(s, r, start)
            for s, r in _components({"methods": [entry]}, "methods", "method", folder, one)
        ]
        found.extend((path + p.removeprefix("methods[0]"), m) for p, m in one)
    return made
