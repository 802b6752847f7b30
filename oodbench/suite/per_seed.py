"""Files and folders that stand for one trial each: `{seed}` in a path of a component is the number of the
seed, and `{data}` the data root that holds what follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from oodbench.core.spec import Spec
from oodbench.data.sources.below_roots import located, require

SEED = "{seed}"


def at_seed(spec: Spec, seed: int) -> Spec:
    """The component with the paths of one seed, those below the data roots where they lie."""
    return _with(spec, lambda path: located(Path(str(path).replace(SEED, str(seed)))))


def require_files(spec: Spec, seed: int) -> None:
    """Raise MissingData for a path below the data roots that is in none of them."""

    def check(path: Path) -> Path:
        require(path, str(seed))
        return path

    _with(spec, check)


def is_per_seed(spec: Spec) -> bool:
    """Whether one of its paths names the seed."""
    return any(SEED in str(path) for path in paths_of(spec))


def paths_of(spec: Spec) -> list[Path]:
    """The paths of a component, those of nested ones included."""
    found: list[Path] = []
    _with(spec, lambda path: found.append(path) or path)  # type: ignore[func-returns-value]
    return found


def _with(value: Any, change: Callable[[Path], Path]) -> Any:
    """A value with every path in it, nested components included, changed."""
    if isinstance(value, Path):
        return change(value)
    if isinstance(value, Spec):
        params = {k: _with(v, change) for k, v in value.params.items()}
        return value if params == dict(value.params) else replace(value, params=params)
    if isinstance(value, Mapping):
        return {k: _with(v, change) for k, v in value.items()}
    return type(value)(_with(v, change) for v in value) if isinstance(value, (list, tuple)) else value
