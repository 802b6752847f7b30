"""The whole way from pictures and a checkpoint to the numbers of a leaderboard against OpenOOD's Evaluator
asked of the same folder and the same network: how its numbers were made stands in make_openood_run.py."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from oodbench.core import registry
from oodbench.core.network import Task
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite
from tests.whole.openood_folder import CLASSES, MEAN, STD, body_weights, write_folder

pytestmark = pytest.mark.filterwarnings("ignore:.* is not OpenOOD v1.5's list")
FIXED: dict[str, Any] = {
    "msp": "msp", "mls": "mls", "ebo": "energy", "gen": "gen", "klm": "klm", "mds": "mds", "rmds": "rmds",
    "gradnorm": "gradnorm", "knn": {"knn": {"k": 20}}, "vim": {"vim": {"dim": 32}},
    "react": {"react": {"fit_on": "val"}}, "ash": {"ash": {"variant": "b", "percentile": 80}},
    "scale": "scale", "she": "she",
    "dice": "dice", "fdbd": "fdbd", "nci": "nci", "relation": "relation", "nnguide": {"nnguide": {"k": 20}},
    "odin": {"odin": {"temperature": 1, "epsilon": 0.0028}},
}  # fmt: skip
"""OpenOOD's postprocessor -> the scorer that is it."""
SEARCHED: dict[str, Any] = {
    "vra": {"vra": {"fit_on": "val", "below": "clip"}}, "ash": {"ash": {"variant": "b"}},
    **{n: FIXED[n] for n in ("gen", "react", "scale", "fdbd", "nci", "relation")},
}  # fmt: skip
"""The same of those that it searches; its search leaves a parameter alone that was set."""
COLUMNS = {
    "AUROC": "auroc", "FPR@95": "fpr95_out", "AUPR_IN": "aupr_in_trapezoid",
    "AUPR_OUT": "aupr_out_trapezoid",
}  # fmt: skip
"""Their metrics under our names."""
CHOSEN = {
    "vra": ("high", "low"), "gen": ("gamma", "top"), "react": ("percentile",), "ash": ("percentile",),
    "scale": ("percentile",), "fdbd": ("normaliser",), "nci": ("alpha",), "relation": ("power",),
}  # fmt: skip


@functools.cache
def stored() -> Mapping[str, np.ndarray]:
    return dict(np.load(Path(__file__).with_name("openood_run.npz")))


def theirs(name: str) -> pd.DataFrame:
    """Their table of one postprocessor, in percent: a row per set, nearood and farood the means."""
    found = stored()
    return pd.DataFrame(found[name], index=found["sets"], columns=found["metrics"])


def write_checkpoint(file: Path) -> None:
    """The network under OpenOOD's names."""
    task = Task("image", (3, 32, 32), CLASSES, MEAN, STD)
    ours = registry.build("network", "resnet18-32", task).state_dict()
    named = {k.removeprefix("body.").replace("head.", "fc."): v for k, v in ours.items()}
    made = body_weights({k: tuple(v.shape) for k, v in named.items()})
    made |= {k.removeprefix("weights."): v for k, v in stored().items() if k.startswith("weights.")}
    assert made.keys() == named.keys()
    torch.save({k: torch.from_numpy(v) for k, v in made.items()}, file)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Rows of the suite: each scorer as FIXED has it, and tuned as OpenOOD tunes."""
    folder = tmp_path_factory.mktemp("openood")
    write_folder(folder / "data")
    write_checkpoint(folder / "best.ckpt")
    scorers = FIXED | {_searched(name): spec for name, spec in SEARCHED.items()}
    suite = {
        "name": "as-openood",
        "pairs": [{"openood-cifar10": {"root": str(folder / "data")}}],
        "networks": [{"resnet18-32": {}, "input": {"mean": list(MEAN), "std": list(STD)}}],
        "methods": [{"checkpoint": {"file": str(folder / "best.ckpt")}, "as": "cross-entropy"}],
        "scorers": [{**(s if isinstance(s, dict) else {s: {}}), "as": name} for name, s in scorers.items()],
        "tune": ["none", {"ood-val": {"space": "openood"}}],
    }
    return run(parse_suite(suite), results=folder / "results", plots=False).rows


def _searched(name: str) -> str:
    """The label of a scorer that is searched: its own where another stands under its name."""
    return name if FIXED.get(name, SEARCHED[name]) == SEARCHED[name] else f"{name} searched"


def _ours(rows: pd.DataFrame, scorer: str, tune: str) -> pd.DataFrame:
    """Our rows of one scorer as theirs are, in percent."""
    own = rows[(rows.scorer == scorer) & (rows.tune == tune) & (rows.condition == "clean")]
    by_set = own[own.ood != ""].set_index("ood")
    found = pd.DataFrame({k: 100 * by_set[v].astype(float) for k, v in COLUMNS.items()})
    for shift in ("near", "far"):
        found.loc[f"{shift}ood"] = found[by_set["shift"].reindex(found.index) == shift].mean()
    return found


@pytest.mark.parametrize("name", FIXED)
def test_metrics_are_those_of_their_evaluator(name: str, rows: pd.DataFrame) -> None:
    due = theirs(f"fixed.{name}")[list(COLUMNS)]
    pd.testing.assert_frame_equal(
        _ours(rows, name, "none").loc[due.index], due, atol=0.01, rtol=0, check_names=False
    )


@pytest.mark.parametrize("name", SEARCHED)
def test_their_search_chooses_the_same_parameters(name: str, rows: pd.DataFrame) -> None:
    own = rows[(rows.scorer == _searched(name)) & (rows.tune == "ood-val:openood")]
    record = json.loads(own.chosen.iloc[0])
    found = json.loads(str(stored()["chosen"]))[name]
    if name == "fdbd":
        found = "distance" if found else "norm"
    due = dict(zip(CHOSEN[name], found if isinstance(found, list) else [found], strict=True))
    assert record["params"] == due
    due_table = theirs(f"searched.{name}")[list(COLUMNS)]
    pd.testing.assert_frame_equal(
        _ours(rows, _searched(name), "ood-val:openood").loc[due_table.index], due_table, atol=0.01, rtol=0,
        check_names=False,
    )  # fmt: skip


def test_accuracy_is_theirs(rows: pd.DataFrame) -> None:
    assert set(theirs("fixed.msp")["ACC"]) == {100 * float(rows.id_accuracy.iloc[0])}


def test_their_metrics_are_columns_of_ours() -> None:
    assert set(COLUMNS.values()) <= set(METRICS)
