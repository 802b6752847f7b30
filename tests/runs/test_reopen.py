"""A results folder opened again: its suite planned anew, its store read and left as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.evaluation.comparison import Group
from oodbench.evaluation.rows import read_rows
from oodbench.runs.held import Held
from oodbench.runs.reopen import costs, figures_of, reopened, suite_of, with_samples
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite
from tests.runs.suites import SMALL, plugin
from tests.unpacked import unpacked

ROW = {"pair": "p", "network": "mlp(hidden=[8])", "method": "cross-entropy", "scorer": "msp", "tune": "none"}


def test_a_store_may_lie_elsewhere(rich: Path, tmp_path: Path) -> None:
    (rich.parent / ".store").rename(tmp_path / "elsewhere")
    assert reopened(rich).store is None
    assert list(reopened(rich).held()) == []
    assert reopened(rich).samples().empty
    assert reopened(rich).scores_of(ROW) == {}
    opened = reopened(rich, tmp_path / "elsewhere")
    assert all(isinstance(h, Held) for h in opened.held())
    assert opened.scores_of(ROW)
    with pytest.raises(UserError, match="holds no artefacts"):
        reopened(rich, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_opening_makes_and_removes_nothing(rich: Path) -> None:
    victim = next((rich.parent / ".store" / "scores").rglob("scores.safetensors"))
    victim.write_bytes(b"damaged")
    before = {f: f.stat().st_mtime_ns for f in rich.parent.rglob("*")}
    opened = reopened(rich)
    assert any(h.absent for h in opened.held() if isinstance(h, Held)), "the damage is seen"
    opened.samples()
    assert {f: f.stat().st_mtime_ns for f in rich.parent.rglob("*")} == before


def test_keys_are_those_of_the_run(rich_run: Path) -> None:
    rows = read_rows(rich_run / "results.csv")
    planned = {r.place["method"]: r.key for r in reopened(rich_run).plan.runs}
    assert planned == dict(zip(rows["method"], rows["run_key"], strict=True))


def test_scores_of_a_cell_are_those_that_are_stored(rich_run: Path, tmp_path: Path) -> None:
    store = unpacked(shutil.copytree(rich_run.parent / ".store", tmp_path / "store"))
    opened = reopened(rich_run)
    first = opened.plan.runs[0]
    for row, label in ((ROW, "msp"), (ROW | {"scorer": "energy", "tune": "id"}, "energy [id]")):
        held = next(opened.held())
        assert isinstance(held, Held)
        scorer = next(s for s in held.run.scorers if s.label == label)
        ((place, sets),) = opened.scores_of(row).items()
        assert place == ("", "0"), "no split, seed 0"
        assert set(sets) == {"", "six", "grey"}
        for name, measured in sets.items():
            one = first.sets[name or "test"]
            key = held.run.scores_key(scorer, one.name)
            file = store / "scores" / key[:2] / key / "scores.safetensors"
            np.testing.assert_array_equal(measured.values, load_file(file)["scores"].numpy())
            assert (measured.digest, measured.shift) == (one.digest, one.role if name else "id")
    assert opened.scores_of(ROW | {"method": "nobody"}) == {}
    assert opened.scores_of(ROW | {"scorer": "nobody"}) == {}


NORM = """
import oodbench
@oodbench.scorer("norm", source="mine")
class Norm(oodbench.Scorer):
    "Negative L2 norm of the logits."
    def score(self, outputs):
        return -outputs.logits.norm(dim=1)
"""


def test_a_plugin_may_lie_elsewhere_too(tmp_path: Path) -> None:
    own = plugin(tmp_path, NORM)
    with registry.isolated():  # as another process would
        suite = parse_suite(SMALL | {"scorers": ["norm"]}, plugins=[own])
        done = run(suite, results=tmp_path / "r", device="cpu", plots=False)
    here = own.rename(tmp_path / "moved.py")
    with pytest.raises(UserError, match=r"plugin\.py: no such file"):
        reopened(done.folder)
    held = next(reopened(done.folder, plugins=[here]).held())
    assert isinstance(held, Held)
    assert set(held.scores) == {"norm"}, "the same code, so the same keys"


def test_what_is_not_here_is_said(rich: Path) -> None:
    group = Group("mine", pd.DataFrame(), pd.DataFrame())
    assert with_samples(group, rich).samples is not None
    assert with_samples(group, rich / "results.csv.published").why == "mine is a published table"
    (rich.parent / ".store").rename(rich.parent / "store")
    why = with_samples(group, rich).why
    assert why == f"the store of {rich} is not here; name it with --store"
    (rich / "suite.yaml").unlink()
    assert with_samples(group, rich).why.endswith("suite.yaml: no such file; `oodbench run` writes it")
    with pytest.raises(UserError, match=r"suite\.yaml: no such file"):
        suite_of(rich)
    assert figures_of(rich) == []
    (rich / "timing.csv").unlink()
    with pytest.raises(UserError, match=r"timing\.csv: no such file; costs are read from the timing\.csv"):
        costs([rich], pd.DataFrame())


def test_reference_figures_are_read_from_the_suite(rich: Path) -> None:
    file = rich / "suite.yaml"
    file.write_text(file.read_text() + "reference:\n- {source: somebody, id_accuracy: 90.0}\n")
    assert figures_of(rich) == [{"source": "somebody", "id_accuracy": 90.0}]
    assert figures_of(rich / "results.csv") == figures_of(rich)
