"""Registries of components. The signature is the schema: keyword-only typed parameters with defaults *are* the configuration.

A decorator on one class or function registers it; positional parameters are what the runner injects. `Spec` is a component
with every default written out: it has a label for people, an identity for keys, and nests where a component takes another.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import itertools
import pkgutil
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from oodbench.core import scorer as base
from oodbench.core.errors import SpecError, UserError
from oodbench.core.scorer import SpecLike, fingerprint

F = TypeVar("F", bound=Callable[..., Any])

KINDS = ("dataset", "pair", "network", "method", "scorer", "view", "augmentation")
COMPONENT = "x-oodbench-component"
"""Stands in a parameter's JSON schema where a component of some kind is nested; the schema of a suite file puts the reference there."""
_PACKAGES = (
    "data.datasets", "data.pairs", "training.networks", "training.methods", "training.augmentations", "scoring.scorers", "scoring.views",
)  # fmt: skip
# A parameter annotated with one of these nouns takes a nested component of that kind.
_NESTED: dict[Any, str] = {
    base.Dataset: "dataset", base.Network: "network", base.Method: "method", base.Scorer: "scorer", base.View: "view",
}  # fmt: skip


# ---------------------------------------------------------------- Spec


@dataclass(frozen=True)
class Spec:
    """A validated component: kind, name, and all its parameters, defaults written out. `alias` is the suite's `as:`."""

    kind: str
    name: str
    params: Mapping[str, Any]
    alias: str = ""

    @property
    def component(self) -> Component:
        return registry(self.kind).components()[self.name]

    @property
    def label(self) -> str:
        """The alias, or the name plus the parameters that differ from their defaults: ``als(lam=10)``."""
        if self.alias:
            return self.alias
        defaults = self.component.defaults
        changed = [
            f"{k}={_short(v)}"
            for k, v in self.params.items()
            if k not in defaults or plain_value(defaults[k]) != plain_value(v)
        ]
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    @property
    def plain(self) -> dict[str, Any]:
        """As a suite file could write it, every parameter spelled out."""
        return {self.name: {k: plain_value(v) for k, v in self.params.items()}}

    @property
    def identity(self) -> dict[str, Any]:
        """What keys are made of: name, version, parameters (files by content), and for code that is not ours its sha256."""
        c = self.component
        identity = {
            "name": self.name,
            "version": c.version,
            "params": {k: identity_value(v) for k, v in self.params.items()},
        }
        return identity | ({"code": c.code} if c.code else {})

    @property
    def identity_key(self) -> str:
        """The identity as one string, for look-ups."""
        return fingerprint(self.identity)

    def without(self, *names: str) -> Spec:
        """The same component with some parameters left out, for labels and columns that stand beside them."""
        return Spec(self.kind, self.name, {k: v for k, v in self.params.items() if k not in names}, self.alias)


class Code(str):
    """A user's function or class as text, ``pkg.mod:name`` or ``file.py:name`` (from the suite's folder): a type for parameters.

    `target` is what was found there. Its identity is the sha256 of the file that defines it, never where that file lies.
    """

    target: Any
    sha256: str

    @property
    def identity(self) -> dict[str, str]:
        return {"name": self.rpartition(":")[2], "code": self.sha256}

    @classmethod
    def of_text(cls, text: Any, info: pydantic.ValidationInfo) -> Code:
        if isinstance(text, Code):
            return text
        place, _, name = text.rpartition(":") if isinstance(text, str) else ("", "", "")
        if not place or not name.isidentifier():
            raise ValueError(f"should be 'pkg.mod:name' or 'file.py:name', got {text!r}")
        if place.endswith(".py"):
            file = _from_folder(Path(place), info).resolve()
            if not file.is_file():
                raise ValueError(f"no such file: {file}")
            place, module = str(file), _run_file(file, "oodbench_code")
        else:
            try:
                module = importlib.import_module(place)
            except Exception as error:
                raise ValueError(f"cannot import {place!r} ({type(error).__name__}: {error})") from None
        if not callable(getattr(module, name, None)):
            there = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
            raise ValueError(f"{place} has no function or class {name!r}{meant(name, there)}")
        code = cls(f"{place}:{name}")
        code.target = getattr(module, name)
        code.sha256 = _code(code.target)  # of what was loaded: the file may change while we run
        return code


def _run_file(file: Path, prefix: str) -> types.ModuleType:
    """A user's file as a module of its own, in sys.modules before it runs, since typing.get_type_hints looks there."""
    name = f"{prefix}_{file.stem}_{hashlib.sha256(str(file).encode() + file.read_bytes()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"cannot run {file} ({type(error).__name__}: {error})") from None
    return module


def _walk(value: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _walk(v, leaf) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_walk(v, leaf) for v in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return leaf(value)


def plain_value(value: Any) -> Any:
    """A parameter as YAML would hold it: components as their plain form, paths and code as text."""
    return _walk(value, lambda v: v.plain if isinstance(v, Spec) else str(v) if isinstance(v, (Path, Code)) else v)


def identity_value(value: Any) -> Any:
    """A path is never identity, what it holds is: a file by its sha256; a folder's content enters by other ways (data digests)."""

    def leaf(v: Any) -> Any:
        if isinstance(v, (Spec, Code)):
            return v.identity
        if isinstance(v, Path):
            return {"sha256": file_sha256(v)} if v.is_file() else {"folder": True}
        if isinstance(v, float) and v.is_integer():
            return int(v)  # 50 and 50.0 are one value
        return v

    return _walk(value, leaf)


def _short(value: Any) -> str:
    if isinstance(value, Spec):
        return value.label
    if isinstance(value, Code):
        return value.rpartition("/")[2]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Path):
        return value.name
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_short, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_short(v)}" for k, v in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's content."""
    with open(path, "rb") as f:
        return (
            hashlib.file_digest(f, "sha256").hexdigest()
            if sys.version_info >= (3, 11)
            else hashlib.sha256(f.read()).hexdigest()
        )


# ---------------------------------------------------------------- Component


class Component:
    """A registered class or function, with the pydantic model that its signature describes."""

    def __init__(self, kind: str, name: str, target: Callable[..., Any], source: str, version: int) -> None:
        self.kind, self.name, self.target, self.source, self.version = kind, name, target, source, version
        doc = inspect.getdoc(target) or ""
        self.summary = doc.strip().split("\n\n")[0].replace("\n", " ")
        self.code = _code(target)
        function = target.__init__ if inspect.isclass(target) else target  # type: ignore[misc]
        own = function is not object.__init__
        self._hints = typing.get_type_hints(function, include_extras=True) if own else {}
        self._keywords = {
            p.name: p
            for p in (inspect.signature(function).parameters.values() if own else ())
            if p.kind is p.KEYWORD_ONLY
        }
        untyped = [p for p in self._keywords if p not in self._hints]
        if untyped:
            raise UserError(
                f"{kind} {name!r}: parameter {untyped[0]!r} has no type; every configuration parameter needs one"
            )
        self._model: type[BaseModel] | None = None

    @property
    def model(self) -> type[BaseModel]:
        if self._model is None:
            fields: dict[str, Any] = {
                p.name: (_annotation(self._hints[p.name]), ... if p.default is p.empty else p.default)
                for p in self._keywords.values()
            }
            config = ConfigDict(
                extra="forbid", arbitrary_types_allowed=True, validate_default=True, protected_namespaces=()
            )
            self._model = pydantic.create_model(self.name, __config__=config, **fields)
        return self._model

    @property
    def defaults(self) -> dict[str, Any]:
        """Default values as validation returns them, of the parameters that have one."""
        given: dict[str, Any] = {}
        for name, field in self.model.model_fields.items():
            if not field.is_required():
                try:
                    given[name] = getattr(
                        self.model.__pydantic_validator__.validate_assignment(
                            self.model.model_construct(), name, field.default
                        ),
                        name,
                    )
                except pydantic.ValidationError:
                    given[name] = field.default
        return given

    @property
    def signature(self) -> list[tuple[str, str, str]]:
        """(parameter, type, default) as text, for listings."""
        rows = []
        for p in self._keywords.values():
            rows.append(
                (p.name, _type_text(self._hints[p.name]), "required" if p.default is p.empty else _short(p.default))
            )
        return rows

    def resolve(self, params: Any, *, alias: str = "", folder: Path | None = None) -> Spec:
        if params is None:
            params = {}
        if not isinstance(params, Mapping):
            raise SpecError([(self.name, f"parameters should be a mapping {{name: value}}, got {params!r}")])
        try:
            model = self.model.model_validate(dict(params), context={"folder": folder})
        except pydantic.ValidationError as error:
            raise SpecError(problems_of(error, self.name, list(self.model.model_fields))) from None
        return Spec(self.kind, self.name, {k: getattr(model, k) for k in self.model.model_fields}, alias)


def _code(target: Any) -> str:
    """sha256 of the source that defines a component from outside this package; ours is versioned by hand instead."""
    if target.__module__.split(".")[0] == "oodbench":
        return ""
    module = sys.modules.get(target.__module__)
    file = getattr(module, "__file__", None)
    if file and Path(file).is_file():
        return file_sha256(Path(file))
    try:
        return hashlib.sha256(inspect.getsource(target).encode()).hexdigest()
    except (OSError, TypeError):
        return f"{target.__module__}.{target.__qualname__}"


def _annotation(hint: Any) -> Any:
    """The hint as pydantic should see it: nested components resolve to a Spec, numbers refuse true and false, paths start at the suite."""
    if hint in _NESTED:
        kind = _NESTED[hint]
        nested = BeforeValidator(lambda raw, info: resolve(kind, raw, folder=(info.context or {}).get("folder")))
        return Annotated[Any, nested, WithJsonSchema({COMPONENT: kind})]
    if hint is int or hint is float:
        return Annotated[hint, BeforeValidator(_not_bool)]
    if hint is Code:
        return Annotated[Any, BeforeValidator(Code.of_text), WithJsonSchema({"type": "string"})]
    if hint is Path:
        return Annotated[Path, pydantic.AfterValidator(_from_folder)]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        # Bounds first, guards last: a bound on a guarded number would vanish from the JSON schema.
        inner = _annotation(args[0])
        kept, *guards = typing.get_args(inner) if typing.get_origin(inner) is Annotated else (inner,)
        return Annotated[(kept, *args[1:], *guards)]  # type: ignore[return-value]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_annotation(a) for a in args)]  # noqa: UP007
    if origin is typing.Literal or not args or origin is None:
        return hint
    if origin in (Mapping, dict):
        return dict.__class_getitem__((args[0], _annotation(args[1])))
    if origin in (Sequence, list):
        return list.__class_getitem__(_annotation(args[0]))
    if origin is tuple:
        return tuple.__class_getitem__(tuple(a if a is Ellipsis else _annotation(a) for a in args))
    return hint


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"should be a number, got {str(value).lower()}")
    return value


def _from_folder(path: Path, info: pydantic.ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    path = path.expanduser()
    return path if folder is None or path.is_absolute() else folder / path


def problems_of(error: pydantic.ValidationError, path: str, names: list[str]) -> list[tuple[str, str]]:
    """pydantic's errors as (key path, one line), nested components' mistakes flattened to their own paths."""
    found: list[tuple[str, str]] = []
    for e in error.errors():
        # Union branches and validators put their own names into the location; only keys and indices mean something to a user.
        place = path
        for i, part in enumerate(e["loc"]):
            if isinstance(part, int):
                place += f"[{part}]"
            elif i == 0 or (not any(c in part for c in "[]()-") and part not in ("int", "float", "str", "bool")):
                place += f".{part}"
        cause = e.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            found += [(f"{place}.{p}" if p else place, m) for p, m in cause.problems]
        elif e["type"] == "extra_forbidden":
            found.append((path, f"unknown parameter {e['loc'][-1]!r}{meant(str(e['loc'][-1]), names)}"))
        elif e["type"] == "missing":
            found.append((path, f"parameter {e['loc'][-1]!r} is required"))
        else:
            message = e["msg"].removeprefix("Value error, ").removeprefix("Input ")
            got = (
                ""
                if "got " in message
                else f", got {e['input']!r}"
                if not isinstance(e["input"], bool)
                else f", got {str(e['input']).lower()}"
            )
            found.append((place, message + got))
    return found


def meant(name: str, choices: Sequence[str]) -> str:
    """The end of an error line: the nearest allowed name, if any is near, and all of them."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    there = ", ".join(sorted(choices)) or "none"
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" allowed: {there}"


def _type_text(hint: Any) -> str:
    if typing.get_origin(hint) is Annotated:
        base_type, *notes = typing.get_args(hint)
        bounds = []
        for note in notes:
            for m in getattr(note, "metadata", [note]):
                for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
                    bound = getattr(m, attribute, None)
                    if bound is not None:
                        bounds.append(f"{sign} {bound:g}")
        return _type_text(base_type) + (f" ({', '.join(bounds)})" if bounds else "")
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(_type_text(a) for a in typing.get_args(hint))
    if hint is type(None):
        return "null"
    if hint in _NESTED:
        return f"a {_NESTED[hint]}"
    args = typing.get_args(hint)
    name = getattr(typing.get_origin(hint) or hint, "__name__", str(hint))
    return f"{name}[{', '.join('...' if a is Ellipsis else _type_text(a) for a in args)}]" if args else name


# ---------------------------------------------------------------- Registry


class Registry:
    """Components of one kind by name. Iterating lists the names, built-in ones and entry points included."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._components: dict[str, Component] = {}

    def __call__(self, name: str, *, source: str = "", version: int = 1) -> Callable[[F], F]:
        """Decorator: register a class or function. `source` says what was read for it; bump `version` when its numbers change."""

        def register(target: F) -> F:
            component = Component(self.kind, name, target, source, version)
            taken = self._components.get(name)
            if taken is not None:
                raise UserError(
                    f"{self.kind} {name!r} is already registered by {taken.target.__module__}; choose another name"
                )
            self._components[name] = component
            return target

        return register

    def components(self) -> dict[str, Component]:
        load_builtin()
        return self._components

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.components()))

    def __len__(self) -> int:
        return len(self.components())

    def __contains__(self, name: str) -> bool:
        return name in self.components()

    def __getitem__(self, name: str) -> Component:
        components = self.components()
        if name not in components:
            raise SpecError([("", f"unknown {self.kind} {name!r}{meant(name, list(components))}")])
        return components[name]


dataset, pair, network, method, scorer, view, augmentation = _all = tuple(Registry(kind) for kind in KINDS)
datasets, pairs, networks, methods, scorers, views, augmentations = _all
_by_kind = dict(zip(KINDS, _all, strict=True))
_loaded = False


def registry(kind: str) -> Registry:
    """The registry of a kind, one of KINDS; UserError else."""
    if kind not in _by_kind:
        raise UserError(f"unknown kind {kind!r}; allowed: {', '.join(KINDS)}")
    return _by_kind[kind]


def load_builtin() -> None:
    """Import every component module of this package and every plugin in the entry-point group ``oodbench.plugins``, once."""
    global _loaded
    if _loaded:
        return
    _loaded = True  # first, since the components themselves may ask
    for name in _PACKAGES:
        package = importlib.import_module(f"oodbench.{name}")
        for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
            importlib.import_module(f"oodbench.{name}.{module.name}")
    for entry in entry_points(group="oodbench.plugins"):
        entry.load()


_plugins: dict[Path, str] = {}


def load_plugin(path: Path) -> None:
    """Run a user's file that registers components, whose source is part of their identity. Again it runs only if it changed."""
    path = path.resolve()
    if not path.is_file():
        raise UserError(f"plugin {path}: no such file")
    load_builtin()
    sha = file_sha256(path)
    if _plugins.get(path) == sha:
        return
    name = f"oodbench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    before = {kind: dict(r._components) for kind, r in _by_kind.items()}
    for r in _by_kind.values():  # an edited plugin replaces what it registered before
        r._components = {k: c for k, c in r._components.items() if c.target.__module__ != name}
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before exec: typing.get_type_hints looks it up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        for kind, r in _by_kind.items():
            r._components = before[kind]
        del sys.modules[name]
        where = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        raise UserError(f"plugin {path}: {type(error).__name__}: {error}{where}") from error
    _plugins[path] = sha


# ---------------------------------------------------------------- from description to object


def resolve(kind: str, raw: SpecLike | Spec, *, alias: str = "", folder: Path | None = None) -> Spec:
    """A validated Spec from a name or ``{name: {parameter: value}}``. All mistakes are raised together as one SpecError."""
    if isinstance(raw, Spec):
        return raw
    if isinstance(raw, str):
        return registry(kind)[raw].resolve({}, alias=alias, folder=folder)
    if isinstance(raw, Mapping) and len(raw) == 1:
        ((name, params),) = raw.items()
        return registry(kind)[str(name)].resolve(params, alias=alias, folder=folder)
    raise SpecError([("", f"a {kind} should be a name or {{name: {{parameter: value}}}}, got {raw!r}")])


def build(kind: str, spec: SpecLike | Spec, *injected: Any) -> Any:
    """The component itself: ``build("scorer", {"knn": {"k": 50}})``. Positional parameters of its signature go in `injected`."""
    spec = resolve(kind, spec)
    made = spec.component.target(*injected, **{k: _build_value(v) for k, v in spec.params.items()})
    if kind in ("method", "scorer", "view"):
        made.spec = spec
    return made


def _build_value(value: Any) -> Any:
    if isinstance(value, Spec):
        return build(value.kind, value)
    if isinstance(value, dict):
        return {k: _build_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_build_value(v) for v in value)
    return value


def expand(raw: Any) -> list[Any]:
    """Every variant of a description in which ``{grid: [...]}`` stands for several values, in the order written (last varies fastest)."""
    if isinstance(raw, Mapping):
        if set(raw) == {"grid"}:
            values = raw["grid"]
            if not isinstance(values, list) or not values:
                raise SpecError([("grid", f"should be a list of at least one value, got {values!r}")])
            return [variant for value in values for variant in expand(value)]
        return [dict(zip(raw, values, strict=True)) for values in itertools.product(*(expand(v) for v in raw.values()))]
    if isinstance(raw, list):
        return [list(values) for values in itertools.product(*(expand(v) for v in raw))]
    return [raw]
