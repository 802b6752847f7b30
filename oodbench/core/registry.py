"""Registries of components. The signature is the schema: keyword-only typed parameters with defaults *are*
the configuration.

A decorator on one class or function registers it; positional parameters are what the runner injects. `Spec`
is a component with every default written out: it has a label for people, an identity for keys, and nests
where a component takes another."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from oodbench.core.description import SpecLike
from oodbench.core.errors import ANYTHING, SpecError, UserError, meant, one_line, reason_of, shown
from oodbench.core.identity import file_sha256
from oodbench.core.spec import Component, Spec, remember
from oodbench.core.usercode import run_file

F = TypeVar("F", bound=Callable[..., Any])

KINDS = ("dataset", "pair", "network", "method", "scorer", "view", "augmentation")
_PACKAGES = (
    "data.datasets", "data.pairs", "training.networks", "training.methods", "training.augmentations",
    "scoring.scorers", "scoring.views",
)  # fmt: skip


class Registry:
    """Components of one kind by name. Iterating lists the names, built-in ones and entry points included.

    `oodbench.dataset`, `pair`, `network`, `method`, `scorer`, `view` and `augmentation` are one each: as a
    decorator it registers, as a mapping (`oodbench.registry.scorers` is the same object) it lists.

    Example:
        >>> @oodbench.dataset("example-black", source="an example")
        ... def black(*, count: int = 10) -> oodbench.Dataset:
        ...     "Black images."
        ...     images, labels = torch.zeros(count, 1, 8, 8), torch.zeros(count)
        ...     return oodbench.Dataset({"test": lambda: TensorSamples(images, labels)})
        >>> len(oodbench.build("dataset", {"example-black": {"count": 3}})["test"])
        3
        >>> "example-black" in oodbench.dataset
        True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._components: dict[str, Component] = {}

    def __call__(
        self, name: str, *, source: str = "", version: int = 1,
        own_input: Callable[[Mapping[str, Any]], Any] | None = None,
    ) -> Callable[[F], F]:  # fmt: skip
        """Decorator: register a class or function. ``oodbench list`` shows its docstring's first paragraph.

        Args:
            name: lower case with hyphens, not taken yet.
            source: what was read for it: paper, code, page.
            version: to be raised when its numbers change, so that what was stored is made again.
            own_input: of a network that comes with weights: from its parameters to the `Input` that those
                were trained on, ``None`` where they bring none.

        Raises:
            UserError: the name is taken, or a keyword-only parameter has no type.
        """

        def register(target: F) -> F:
            component = Component(self.kind, name, target, source, version, resolve)
            component.own_input = own_input
            taken = self._components.get(name)
            if taken is not None:
                raise UserError(
                    f"{self.kind} {name!r} is already registered by {taken.target.__module__}; choose another"
                    " name"
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


def of_kind(kind: str) -> Registry:
    """The registry of a kind, one of KINDS; UserError else."""
    if kind not in _by_kind:
        raise UserError(f"unknown kind {kind!r}; allowed: {', '.join(KINDS)}")
    return _by_kind[kind]


def load_builtin() -> None:
    """Import every component module of this package and every plugin in the entry-point group
    ``oodbench.plugins``, once."""
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


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """What is registered inside, plugins included, is forgotten at the end."""
    load_builtin()
    before, plugins = {kind: dict(r._components) for kind, r in _by_kind.items()}, dict(_plugins)
    try:
        yield
    finally:
        for kind, r in _by_kind.items():
            r._components = before[kind]
        _plugins.clear()
        _plugins.update(plugins)


def load_plugin(path: Path) -> None:
    """Run a user's file that registers components, whose source is part of their identity. Again it runs only
    if it changed."""
    path = path.resolve()
    if not path.is_file():
        raise UserError(f"plugin {path}: no such file")
    load_builtin()
    sha = file_sha256(path)
    if _plugins.get(path) == sha:
        return
    name = _module_of(path)
    before = {kind: dict(r._components) for kind, r in _by_kind.items()}
    for r in _by_kind.values():  # an edited plugin replaces what it registered before
        r._components = {k: c for k, c in r._components.items() if c.target.__module__ != name}
    try:
        run_file(path, name)
    except ANYTHING as error:
        for kind, r in _by_kind.items():
            r._components = before[kind]
        raise UserError(f"plugin {path}: {reason_of(error)}") from error
    _plugins[path] = sha


def registered_by(plugin: Path, kind: str) -> list[str]:
    """Names of what a loaded plugin registered of one kind, in its order."""
    module = _module_of(plugin.resolve())
    return [n for n, c in of_kind(kind).components().items() if c.target.__module__ == module]


def _module_of(plugin: Path) -> str:
    """The name under which a plugin's file runs."""
    digest = hashlib.sha256(os.fsencode(plugin)).hexdigest()[:8]
    return f"oodbench_plugin_{one_line(plugin.stem)}_{digest}"


def resolve(kind: str, raw: SpecLike | Spec, *, alias: str = "", folder: Path | None = None) -> Spec:
    """A validated Spec from a name or ``{name: {parameter: value}}``. All mistakes are raised together as one
    SpecError."""
    if isinstance(raw, Spec):
        return raw
    if isinstance(raw, str):
        return of_kind(kind)[raw].resolve({}, alias=alias, folder=folder)
    if isinstance(raw, Mapping) and len(raw) == 1:
        ((name, params),) = raw.items()
        return of_kind(kind)[str(name)].resolve(params, alias=alias, folder=folder)
    raise SpecError([("", f"a {kind} should be a name or {{name: {{parameter: value}}}}, got {shown(raw)}")])


def build(kind: str, spec: SpecLike | Spec, *injected: Any) -> Any:
    """The component itself.

    Args:
        kind: one of ``dataset``, ``pair``, ``network``, ``method``, ``scorer``, ``view``, ``augmentation``.
        spec: its name, or ``{name: {parameter: value}}``; nested components are written the same way.
        injected: positional parameters of its signature (a network takes its `Task`).

    Raises:
        UserError: there is no such kind, component or parameter, or a value is not allowed; all mistakes at
            once.

    Example:
        >>> oodbench.build("scorer", {"knn": {"k": 5}}).k
        5
    """
    spec = resolve(kind, spec)
    parts = {k: _build_value(v) for k, v in spec.params.items()}
    try:
        made = spec.component.target(*injected, **parts)
    except UserError:
        raise
    except ANYTHING as error:  # a constructor is a user's as much as ours
        raise UserError(f"{kind} {spec.label!r}: {reason_of(error)}") from error
    if kind in ("method", "scorer", "view"):
        remember(made, spec)
    return made


def _build_value(value: Any) -> Any:
    if isinstance(value, Spec):
        return build(value.kind, value)
    if isinstance(value, dict):
        return {k: _build_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_build_value(v) for v in value)
    return value
