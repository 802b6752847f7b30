"""Scores that are made where the store lacks them, and scorers that fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.conftest import TINY
from tests.runs.suites import BROKEN, arrays_suite, plugin, run_file, write_arrays

PLUGIN = """
import oodbench
@oodbench.scorer("norm", source="mine")
class Norm(oodbench.Scorer):
    "Negative L2 norm of the features."
    needs = frozenset({"features"})
    def score(self, outputs):
        return -outputs.features.norm(dim=1)
"""


def test_a_plugin_scorer_runs_and_an_edit_rescores_it_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    own = plugin(tmp_path, PLUGIN)
    tiny.write_text(TINY.replace("[msp,", "[msp, norm,"))
    first = run_file(tiny, tmp_path, plugins=[own])
    assert "norm" in set(first.rows.scorer)
    sets = first.made["scores"] // 3
    own.write_text(PLUGIN.replace("-outputs.features.norm(dim=1)", "-2 * outputs.features.norm(dim=1)"))
    assert run_file(tiny, tmp_path, plugins=[own]).made == {
        "weights": 0,
        "outputs": 0,
        "choices": 0,
        "scores": sets,
    }


def test_a_scorer_that_fails_is_a_row_with_its_reason_and_the_run_goes_on(tiny: Path, tmp_path: Path) -> None:
    own = plugin(tmp_path, BROKEN)
    tiny.write_text(TINY.replace("[msp,", "[broken, msp,"))
    rows = run_file(tiny, tmp_path, plugins=[own]).rows
    failed = rows[rows.scorer == "broken"]
    assert (failed.status == "failed").all()
    assert failed.reason.str.contains("broken").all()
    assert (rows[rows.scorer == "msp"].status == "ok").all()


def test_changed_arrays_are_scored_again(tmp_path: Path) -> None:
    write_arrays(tmp_path / "out")
    file = arrays_suite(tmp_path, "[msp, knn]")
    run_file(file, tmp_path)
    stored = dict(np.load(tmp_path / "out" / "strange.npz"))
    stored = {k: v[:-1] if k in ("logits", "features", "labels") else v for k, v in stored.items()}
    np.savez(tmp_path / "out" / "strange.npz", **stored)
    assert run_file(file, tmp_path).made["scores"] == 2
