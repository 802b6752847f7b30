"""One real run with attacks and claims, which several tests of this room open, change and put together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite

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


@pytest.fixture(scope="session")
def attacked_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("attacked")
    run(parse_suite(ATTACKED), results=root, device="cpu", plots=False)
    return root / "attacked"


@pytest.fixture
def attacked(attacked_run: Path, tmp_path: Path) -> Path:
    """A copy to change, with its store beside it."""
    shutil.copytree(attacked_run.parent, tmp_path / "attacked-copy")
    return tmp_path / "attacked-copy" / "attacked"
