"""Small suites on real images that the tests of this room run, and the one way they run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oodbench.runs.runner import Results, run
from oodbench.suite.load import load_suite

ATTACKED: dict[str, Any] = {
    "name": "attacked", "pairs": ["digits"], "networks": [{"mlp": {"hidden": [16]}}],
    "methods": ["cross-entropy", "label-smoothing"],
    "scorers": ["msp", {"energy": {}, "as": "free-energy"}, {"knn": {"k": 5}}],
    "attacks": [{"fgsm": {"eps": 0.1}}], "seeds": [0, 1],
    "recipe": {"epochs": 2, "batch_size": 128, "lr": 0.05},
    "claims": [
        {
            "id": "smoothing", "says": "Label smoothing detects better.",
            "metric": "auroc", "expect": "higher",
            "compare": ["label-smoothing", "cross-entropy"],
        }
    ],
}  # fmt: skip
"""Two methods, two seeds, a scorer with an alias, an attack and a claim."""

SIX = {"digits": {"classes": [6]}}
PAIR: dict[str, Any] = {
    "name": "p", "id": {"digits": {"classes": [0, 1, 2, 3]}}, "near": {"six": SIX},
    "far": {"grey": {"noise": {"size": 8, "channels": 1, "count": 100}}},
}  # fmt: skip
SMALL: dict[str, Any] = {
    "name": "small", "pairs": [PAIR], "networks": [{"mlp": {"hidden": [8]}}],
    "methods": ["cross-entropy"], "scorers": ["msp"],
    "recipe": {"epochs": 1, "batch_size": 64, "lr": 0.05},
}  # fmt: skip
"""One small network, two OOD sets: what others are made from."""

BLURRED = {"corrupted": {"of": PAIR["id"], "kind": "gaussian-noise", "severity": 5}}
RICH: dict[str, Any] = SMALL | {
    "name": "rich", "pairs": [PAIR | {"shifted": {"noisy": BLURRED}}],
    "methods": ["cross-entropy", {"als": {}, "start": "cross-entropy"}, {"ensemble": {"members": 2}}],
    "scorers": [
        "msp", {"knn": {"k": 5}}, {"react": {"percentile": 80}}, {"odin": {"temperature": 10}}, "energy",
        "mutual-information",
    ],
    "attacks": [{"fgsm": {"eps": 0.1}}], "tune": ["none", "id"], "inapplicable": "skip",
}  # fmt: skip
"""A bit of everything: a start from another's weights, an ensemble, views, tuning, an attack, a
covariate-shifted set."""


def run_file(file: Path, results: Path, plugins: Sequence[Path] = (), **options: Any) -> Results:
    """Run a suite's file on the CPU, without pictures unless asked for."""
    options = {"plots": False, "device": "cpu"} | options
    return run(load_suite(file, plugins), results=results, **options)


def plugin(folder: Path, code: str) -> Path:
    """A file with a component of a user's own."""
    file = folder / "plugin.py"
    file.write_text(code)
    return file


def write_arrays(folder: Path, n: int = 60, features: bool = True) -> None:
    """Outputs of somebody's network as a user hands them over: three classes, a linear head."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(3, 8)).astype(np.float32), np.zeros(3, np.float32)
    folder.mkdir()
    for name, shift in (("train", 0.0), ("val", 0.0), ("test", 0.0), ("strange", 4.0)):
        f = (rng.normal(size=(n, 8)) + shift).astype(np.float32)
        z = f @ weight.T + bias
        data = {"logits": z, "labels": z.argmax(1)} | ({"features": f} if features else {})
        np.savez(folder / f"{name}.npz", **data, **{"head.weight": weight, "head.bias": bias})


def arrays_suite(folder: Path, scorers: str = "[msp, knn, vim, react]", near: str = "strange") -> Path:
    """The file of a suite that reads the arrays in ``out`` beside it."""
    file = folder / "arrays.yaml"
    file.write_text(
        f"name: mine\npairs: [{{arrays: {{near: [{near}]}}}}]\nmethods: [{{outputs: {{folder:"
        f" out}}}}]\nscorers: {scorers}\n"
    )
    return file


BROKEN = """
import torch, oodbench
@oodbench.scorer("broken", source="mine")
class Broken(oodbench.Scorer):
    "Not a number."
    def score(self, outputs):
        return torch.full((len(outputs),), float("nan"))
"""

DIVERGES = """
import oodbench
@oodbench.method("diverges", source="mine")
class Diverges(oodbench.Method):
    "A loss that is not a number."
    def criterion(self, logits, labels):
        return logits.sum(dim=1) * float("nan")
"""

GONE = """
import oodbench
from oodbench.core.errors import MissingData
def absent():
    raise MissingData("data set 'gone': not in /nowhere; get it from nowhere")
@oodbench.dataset("gone", source="mine")
def gone() -> oodbench.Dataset:
    "A set that is never there."
    return oodbench.Dataset({"test": absent, "train": absent})
"""
