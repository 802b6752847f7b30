"""Weights that are trained, loaded from a file, or gone on with after a kill."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import load_file, save_file

from oodbench.core.progress import Reporter
from oodbench.evaluation.metrics import METRICS
from oodbench.evaluation.rows import read_rows
from oodbench.runs import weights
from oodbench.runs.store import Store
from oodbench.suite.load import load_suite
from oodbench.suite.plan import make_plan
from tests.conftest import ROOT, TINY
from tests.runs.suites import run_file


def test_a_person_sees_loss_accuracy_images_per_second_and_time_left(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Eager(Progress):
        """Draws at every change instead of ten times a second, so that no frame depends on how fast the
        machine is."""

        def update(self, *args: Any, **fields: Any) -> None:
            super().update(*args, **fields)
            self.refresh()

    monkeypatch.setattr("oodbench.core.progress.Progress", Eager)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200)
    tiny.write_text(
        TINY.replace("batch_size: 128", "batch_size: 8")
    )  # more than 64 batches: the loop looks up within the epoch
    run_file(tiny, tmp_path, reporter=Reporter(console=console))
    text = screen.getvalue()
    assert re.search(
        r"train digits.*/2.*\d:\d\d:\d\d.*loss [\d.]+.*val_accuracy 0\.\d+.*images_per_second \d", text
    )


def test_a_users_checkpoint_is_scored_and_its_content_is_identity(
    tiny: Path, tiny_run: Path, tmp_path: Path
) -> None:
    trained = next((tiny_run.parent / ".store" / "weights").rglob("weights.safetensors"))
    file = tmp_path / "mine.safetensors"
    file.write_bytes(trained.read_bytes())
    tiny.write_text(
        TINY.replace("name: tiny", "name: own").replace(
            "[cross-entropy]", "[{checkpoint: {file: mine.safetensors}}]"
        )
    )
    own = run_file(tiny, tmp_path)
    assert own.made["weights"] == 1
    of_trained = read_rows(tiny_run / "results.csv")
    pd.testing.assert_frame_equal(own.rows[[*METRICS]], of_trained[[*METRICS]], rtol=1e-9, check_dtype=False)
    save_file({k: v + 0.01 for k, v in load_file(file).items()}, file)
    assert run_file(tiny, tmp_path).made["weights"] == 1


DIES = """
import sys
from pathlib import Path
import torch
from tests.runs.test_weights import weights_of
torch.set_num_threads(1)
weights_of(Path(sys.argv[1]), Path(sys.argv[2]), dies_at=3)
"""


def weights_of(suite: Path, root: Path, dies_at: int = -1) -> int:
    """Make the weights of a suite's first run, its state saved after every epoch; how often it was, unless
    the process dies of it."""
    saves = 0

    class Mortal(Store):
        def save_state(self, *a: Any) -> None:
            nonlocal saves
            super().save_state(*a)
            saves += 1
            if saves == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "SAVE_EVERY", 0.0)
        made = weights.Weights(weights.Bench(Mortal(root), "cpu", Reporter(quiet=True)))
        made.make(make_plan(load_suite(suite)).runs[0])
    return saves


def test_a_training_killed_between_two_epochs_goes_on_and_ends_in_the_same_bytes(
    tiny: Path, tmp_path: Path
) -> None:
    tiny.write_text(TINY.replace("epochs: 2", "epochs: 5, ema: 0.9"))
    killed = subprocess.run(
        [sys.executable, "-c", DIES, str(tiny), str(tmp_path / "killed")], cwd=ROOT, timeout=240
    )
    assert killed.returncode == -signal.SIGKILL
    assert not list((tmp_path / "killed").glob("weights/*/*/manifest.json"))
    assert weights_of(tiny, tmp_path / "killed") == 1, "it went on after the third of five epochs"
    assert weights_of(tiny, tmp_path / "whole") == 4
    for file in ("weights.safetensors", "history.json"):
        one, other = (next((tmp_path / f).rglob(file)).read_bytes() for f in ("killed", "whole"))
        assert one == other, file


def test_a_training_in_which_the_methods_term_never_acted_fails_its_rows(tiny: Path, tmp_path: Path) -> None:
    """Queues that only the last batches fill: the plan cannot know it, and the weights are those of
    cross-entropy. They are not kept under the method's name, and the other rows stand."""
    labels = make_plan(load_suite(tiny)).runs[0].sets["train"].samples.labels  # type: ignore[union-attr]
    size = 2 * int(labels.bincount().min())
    tiny.write_text(TINY.replace("[cross-entropy]", f"[cross-entropy, {{vos: {{size: {size}}}}}]"))
    found = run_file(tiny, tmp_path)
    rows = found.rows[found.rows.method != "cross-entropy"]
    assert set(found.rows[found.rows.method == "cross-entropy"].status) == {"ok"}
    assert set(rows.status) == {"failed"}
    assert rows.reason.str.contains(
        "own term of method 'vos.*' never acted in all epochs.*acts once the queues"
    ).all()
    assert found.made["weights"] == 1
    history = pd.read_csv(found.folder / "history.csv")
    assert set(history.method) == {"cross-entropy"}
    assert set(history.acted) == {1.0}
