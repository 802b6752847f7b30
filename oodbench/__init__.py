"""oodbench: a benchmark suite for out-of-distribution detection.

Public names load when first used, so that importing the package (and ``oodbench --help``) does not import
torch."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "core.dataset": ("Geometry", "Samples", "Dataset", "Pair"),
    "core.network": ("Task", "Input", "Head", "Network"),
    "core.method": ("Batch", "Method"),
    "core.outputs": ("Outputs",),
    "core.scorer": ("View", "Scorer"),
    "core.registry": ("build", "dataset", "pair", "network", "method", "scorer", "view", "augmentation"),
    "core.errors": ("UserError",),
    "training.recipe": ("Recipe",),
    "scoring.score": ("score_all",),
    "suite.suite": ("Suite",),
    "suite.load": ("load_suite",),
    "runs.execution": ("Execution",),
    "runs.runner": ("run",),
}
_MODULES = {
    "registry": "core.registry",
    "errors": "core.errors",
    "metrics": "evaluation.metrics",
    "stats": "evaluation.statistics",
    "functional": "scoring.functional",
    "plots": "report.plots",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"oodbench.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"oodbench.{_MODULES[name]}")
    raise AttributeError(f"module 'oodbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
