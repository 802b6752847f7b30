"""A suite with all that makes jobs wait for others, and a method that a test can stop where it trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.runs.suites import SMALL

WATCHED = """\
import os, signal, socket, time
from pathlib import Path
from torch import Tensor
from torch.nn.functional import cross_entropy
import oodbench

@oodbench.method("watched", source="a test's")
class Watched(oodbench.Method):
    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        folder = Path(os.environ.get("WATCHED", "/none"))
        if (folder / "die").exists():  # once
            (folder / "die").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (folder / "hold").exists():
            draft = folder / f"{os.getpid()}.tmp"
            draft.write_text(f"{socket.gethostname()} {os.getpid()}")
            draft.replace(folder / f"{socket.gethostname()}")
            while (folder / "hold").exists():
                time.sleep(0.01)
        return cross_entropy(logits, labels, reduction="none")

@oodbench.scorer("own", source="a test's")
class Own(oodbench.Scorer):
    def score(self, outputs: oodbench.Outputs) -> Tensor:
        return -outputs.logits.amax(dim=1)
"""
"""A method that ends its process, or waits, as files in a folder tell it; and a scorer, so that the file
matters to every run."""

MIXED: dict[str, Any] = SMALL | {
    "name": "mixed",
    "methods": [
        "watched", "cross-entropy", {"als": {}, "start": "cross-entropy"}, {"ensemble": {"members": 2}},
    ],
    "scorers": ["own", "energy", "mutual-information"],
    "tune": ["none", "id"], "inapplicable": "skip",
}  # fmt: skip
"""A start from another's weights, an ensemble of two members, a tuned scorer."""


def write(folder: Path) -> Path:
    """The suite's file, its plugin beside it."""
    (folder / "watched.py").write_text(WATCHED)
    (folder / "mixed.yaml").write_text(json.dumps(MIXED | {"plugins": ["watched.py"]}))
    return folder / "mixed.yaml"


def rows(results: Path) -> bytes:
    return (results / "mixed" / "results.csv").read_bytes()
