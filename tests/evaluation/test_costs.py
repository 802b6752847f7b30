"""Costs: worked out by hand from a made-up timing.csv, and of a run whose names no registry knows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.spec import Spec, label_of
from oodbench.evaluation import costs
from oodbench.evaluation.leaderboard import over_trials
from oodbench.runs import reopen
from oodbench.runs.runner import run
from tests.cli.test_results import ok
from tests.evaluation.frames import make_rows

TIMING = ("run_key", "network", "method", "scorer", "ood", "stage", "n", "seconds", "bytes")


def timing(*lines: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=list(TIMING))


def specs(**named: object) -> dict[tuple[str, str], Spec]:
    """Scorers by label, and the method of the rows."""
    made = {("scorer", label): registry.resolve("scorer", raw) for label, raw in named.items()}
    return made | {("method", "ce"): registry.resolve("method", "cross-entropy")}


def test_seconds_and_bytes_are_medians_over_trials() -> None:
    rows = make_rows(methods=("ce",), scorers=("msp", "knn"), splits=1, seeds=3)
    lines: list[tuple[object, ...]] = []
    for i, seconds in enumerate((1.0, 2.0, 9.0)):
        at = (f"k{i}", "mlp", "ce")
        lines += [
            (*at, "", "", "train", None, 10 * seconds, 1000),
            (*at, "", "id", "extract", 100, 0.1, 40),
            (*at, "", "train", "extract", 800, 0.8, 300 + i),
            (*at, "knn", "", "fit", None, seconds, None),
            (*at, "knn", "id", "score", 100, 0.1 * seconds, None),
            (*at, "knn", "far", "score", 100, 0.3 * seconds, None),
        ]
    found = costs.of_rows(rows, timing(*lines), specs(msp="msp", knn="knn")).set_index("scorer")
    assert list(costs.of_rows(rows, timing(*lines), {}).columns) == list(costs.COLUMNS)
    knn, msp = found.loc["knn"], found.loc["msp"]
    assert (knn["train_seconds"], knn["fit_seconds"]) == (20, 2)
    assert knn["score_seconds_per_1000"] == pytest.approx(1000 * 0.8 / 200)
    assert (knn["reads"], knn["bytes_stored"], knn["passes"]) == ("train", 1000 + 301, 1)
    assert (msp["reads"], msp["bytes_stored"], msp["passes"]) == ("", 1000, 1)
    assert np.isnan(msp["fit_seconds"])


def test_a_view_costs_its_passes_by_the_clock_and_its_outputs() -> None:
    rows = make_rows(methods=("ce",), scorers=("tilted",), splits=1, seeds=1)
    odin = registry.resolve("scorer", "odin")
    view = registry.build("scorer", odin).view()
    assert view is not None
    label = label_of(view)
    lines = timing(
        ("k", "mlp", "ce", "", "", "train", None, 5.0, 1000),
        ("k", "mlp", "ce", "", "id", "extract", 100, 0.2, 40),
        ("k", "mlp", "ce", label, "id", "extract", 50, 0.3, 70),
        ("k", "mlp", "ce", label, "far", "extract", 50, 0.3, 80),
    )
    (found,) = costs.of_rows(rows, lines, specs(tilted="odin")).to_dict("records")
    assert found["passes"] == pytest.approx(1 + (0.6 / 100) / (0.2 / 100))
    assert found["bytes_stored"] == 1000 + 70 + 80


def test_what_is_not_at_hand_is_unknown_and_not_nothing() -> None:
    rows = make_rows(methods=("ce",), scorers=("msp",), splits=1, seeds=1)
    lines = timing(("k", "mlp", "ce", "", "", "train", None, 5.0, 1000))
    (found,) = costs.of_rows(rows, lines, {}).to_dict("records")
    assert (found["train_seconds"], found["reads"]) == (5, costs.UNKNOWN)
    assert np.isnan(found["bytes_stored"])
    assert np.isnan(found["passes"])
    board = over_trials(rows)
    assert costs.beside(board, costs.of_rows(rows, lines, {}))["reads"].tolist() == [costs.UNKNOWN]


PLUGIN = """\
import oodbench

@oodbench.scorer("centroid", source="mine")
class Centroid(oodbench.Scorer):
    "Distance to the mean feature."

    needs = frozenset({"train"})

    def fit(self, train, val):
        self.mean = train.features.mean(0)

    def score(self, outputs):
        return (outputs.features - self.mean).norm(dim=1)
"""

SUITE = """\
name: named
pairs: [digits]
networks: [{mlp: {hidden: [16]}}]
methods: [cross-entropy]
scorers: [msp, {knn: {k: 5}}, {knn: {k: 5}, as: neighbours}, centroid, {centroid: {}, as: middle}]
recipe: {epochs: 1, batch_size: 128, lr: 0.05}
plugins: [centroid.py]
"""


def test_a_scorer_with_an_alias_or_from_a_plugin_costs_what_it_is(tmp_path: Path) -> None:
    plugin = tmp_path / "centroid.py"
    plugin.write_text(PLUGIN)
    (tmp_path / "named.yaml").write_text(SUITE)
    with registry.isolated():
        run(tmp_path / "named.yaml", results=tmp_path / "r", device="cpu")
    with registry.isolated():  # as in another process, which has not seen the plugin
        told = ok("leaderboard", tmp_path / "r/named", "--costs", "--plugin", plugin, "--format", "csv")
    found = {r["scorer"]: r for r in csv.DictReader(io.StringIO(told))}
    assert found["msp"]["reads"] == ""
    for name in ("knn(k=5)", "neighbours", "centroid", "middle"):
        assert found[name]["reads"] == "train"
        assert found[name]["bytes_stored"] == found["knn(k=5)"]["bytes_stored"]
    assert float(found["knn(k=5)"]["bytes_stored"]) > float(found["msp"]["bytes_stored"])
    plugin.unlink()
    with registry.isolated(), pytest.raises(UserError, match=r"centroid\.py: no such file"):
        reopen.costs([tmp_path / "r/named"], make_rows())
