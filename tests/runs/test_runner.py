"""The straight line on real images: what is written, what is found again, what fails alone, what a kill
costs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from oodbench.core.errors import UserError
from oodbench.evaluation import metrics
from oodbench.evaluation.rows import ROW_KEYS
from oodbench.runs import folder as results
from oodbench.runs import verify
from oodbench.runs.findings import HOLDS, UNCHECKED
from oodbench.runs.runner import run
from oodbench.suite.load import load_suite
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import artefacts, make_plan
from tests.conftest import ROOT, TINY
from tests.runs.suites import DIVERGES, GONE, PAIR, SMALL, arrays_suite, plugin, run_file, write_arrays
from tests.unpacked import unpacked


def test_every_file_is_written_and_the_header_is_golden(tiny_run: Path) -> None:
    folder = tiny_run
    for name in (
        "results.csv",
        "timing.csv",
        "history.csv",
        "leaderboard.csv",
        "suite.yaml",
        "environment.json",
    ):
        assert (folder / name).is_file()
    assert list((folder / "plots").glob("*.png"))
    header = (folder / "results.csv").read_text().splitlines()[0].split(",")
    assert header == [*ROW_KEYS, *metrics.METRICS]
    assert header[:19] == [
        "suite", "pair", "pair_params", "split", "network", "method", "method_params", "seed", "scorer",
        "scorer_params",
        "tune", "chosen", "condition", "id_set", "ood", "shift", "status", "reason", "run_key",
    ]  # fmt: skip
    assert header[19:26] == ["auroc", "aupr_in", "aupr_out", "fpr95_in", "fpr95_out", "oscr", "id_accuracy"]
    # golden: metrics may be appended, never renamed or moved
    assert header.index("edited_accuracy") == 26


def test_rows_are_complete(tiny_run: Path) -> None:
    rows = pd.read_csv(tiny_run / "results.csv", keep_default_na=False)
    sets = rows[rows.ood != ""].groupby("scorer").ood.nunique()
    assert set(sets.index) == {"msp", "knn(k=5)"}
    assert sets.nunique() == 1
    assert (rows.status == "ok").all()
    assert set(rows["shift"]) == {"near", "far", "none"}
    accuracy = rows[(rows.ood == "") & (rows.scorer == "")].id_accuracy.astype(float)
    assert len(accuracy) == 1
    assert accuracy.iloc[0] > 0.5


def test_a_second_run_makes_nothing_and_writes_the_same_bytes(tiny_file: Path, copied: Path) -> None:
    names = ("results.csv", "timing.csv", "history.csv", "leaderboard.csv", "suite.yaml", "report.html")
    before = {n: (copied / n).read_bytes() for n in names}
    again = run_file(tiny_file, copied.parent)
    assert again.made == {"weights": 0, "outputs": 0, "choices": 0, "scores": 0}
    assert {n: (copied / n).read_bytes() for n in names} == before


def test_the_resolved_suite_asks_for_the_same_artefacts(tiny_file: Path, tiny_run: Path) -> None:
    first, second = (list(artefacts(make_plan(load_suite(f)))) for f in (tiny_file, tiny_run / "suite.yaml"))
    assert [a[:2] for a in first] == [a[:2] for a in second]


def test_the_history_has_a_row_for_every_epoch(tiny_run: Path) -> None:
    table = pd.read_csv(tiny_run / "history.csv", keep_default_na=False)
    assert list(table.columns) == [*results.HISTORY]
    assert table.epoch.tolist() == [0, 1]
    assert table.lr.tolist() == sorted(table.lr, reverse=True)
    assert table.loss[1] < table.loss[0]
    assert table.val_accuracy.between(0, 1).all()
    assert set(table.method) == {"cross-entropy"}


def test_timing_and_provenance_are_kept_beside_the_results(tiny_run: Path) -> None:
    timing = pd.read_csv(tiny_run / "timing.csv")
    assert set(timing.stage) == {"train", "extract", "fit", "score"}
    assert (timing.seconds >= 0).all()
    record = json.loads(next((tiny_run.parent / ".store" / "weights").rglob("run.json")).read_text())
    assert {"torch", "device", "seconds", "commit", "recipe", "python"} <= set(record)


def test_a_training_that_diverges_is_failed_rows_and_the_others_go_on(tiny: Path, tmp_path: Path) -> None:
    own = plugin(tmp_path, DIVERGES)
    tiny.write_text(TINY.replace("[cross-entropy]", "[diverges, cross-entropy]"))
    rows = run_file(tiny, tmp_path, plugins=[own]).rows
    assert (rows[rows.method == "diverges"].status == "failed").all()
    assert (rows[rows.method == "cross-entropy"].status == "ok").all()


RAISES = """
import oodbench

@oodbench.method("raises", source="test")
class Raises(oodbench.Method):
    "Its criterion raises."

    def criterion(self, logits, labels):
        raise {error}
"""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("ZeroDivisionError('division by zero')", "ZeroDivisionError: division by zero (plugin.py:9)"),
        ("MemoryError()", "MemoryError (plugin.py:9)"),
        (
            "OSError(28, 'No space left on device')",
            "OSError: [Errno 28] No space left on device (plugin.py:9)",
        ),
        ("AssertionError('one\\ntwo')", "AssertionError: one two (plugin.py:9)"),
        ("SystemExit(0)", "SystemExit: 0 (plugin.py:9)"),
    ],
)
def test_whatever_a_method_raises_is_failed_rows_and_the_others_go_on(
    tiny: Path, tmp_path: Path, error: str, reason: str
) -> None:
    own = plugin(tmp_path, RAISES.format(error=error))
    tiny.write_text(TINY.replace("[cross-entropy]", "[raises, cross-entropy]"))
    rows = run_file(tiny, tmp_path, plugins=[own]).rows
    failed = rows[rows.method == "raises"]
    assert set(failed.status) == {"failed"}
    assert set(failed.reason) == {reason}
    assert (rows[rows.method == "cross-entropy"].status == "ok").all()


CELLS = """
import oodbench, torch
from oodbench.core.dataset import Dataset
from oodbench.data.samples import TensorSamples

class Broken(TensorSamples):
    def read(self, indices, geometry=None): raise OSError(5, "the disk is bad")

@oodbench.dataset("broken", source="t")
def broken():
    "Images that cannot be read."
    return Dataset({{"test": lambda: Broken(torch.rand(9, 1, 8, 8), torch.zeros(9).long())}})

@oodbench.scorer("raises-on-grey", source="t")
class OnGrey(oodbench.Scorer):
    "Fails where the logits are flat."
    def score(self, outputs):
        if len(outputs) == 100: raise {error}
        return outputs.logits[:, 0]

@oodbench.scorer("raises-in-fit", source="t")
class InFit(oodbench.Scorer):
    "Cannot be fitted."
    needs = frozenset({{"train"}})
    def fit(self, train, val): raise {error}
    def score(self, outputs): return outputs.logits[:, 0]
"""


@pytest.mark.parametrize(
    "error", ["TypeError('boom')", "AttributeError", "MemoryError()", "AssertionError", "SystemExit(3)"]
)
def test_one_failing_cell_costs_its_own_rows_alone(tmp_path: Path, error: str) -> None:
    """A set that cannot be read, a scorer that fails on one set, one that fails on all."""
    own = plugin(tmp_path, CELLS.format(error=error))
    pair = PAIR | {"far": {**PAIR["far"], "bad": "broken"}}
    scorers = ["msp", "raises-on-grey", "raises-in-fit", {"knn": {"k": 5}}]
    suite = parse_suite(SMALL | {"pairs": [pair], "scorers": scorers, "tune": ["none", "id"]}, plugins=[own])
    done = run(suite, results=tmp_path / "r", device="cpu")
    rows = done.rows
    kind = error.partition("(")[0]
    whys = {(s, o): r for s, o, r in zip(rows.scorer, rows.ood, rows.reason, strict=True) if r}
    assert whys[("raises-on-grey", "grey")].startswith("scorer 'raises-on-grey' on set 'grey': ")
    assert kind in whys[("raises-on-grey", "grey")]
    failed = set(zip(*(rows[rows.status == "failed"][c] for c in ("scorer", "ood")), strict=True))
    assert failed == {
        *((s, "bad") for s in ("msp", "raises-on-grey", "raises-in-fit", "knn(k=5)")),
        ("raises-on-grey", "grey"), ("raises-in-fit", "six"), ("raises-in-fit", "grey"),
    }  # fmt: skip
    assert all("the disk is bad" in whys[(s, "bad")] for s in ("msp", "knn(k=5)", "raises-on-grey"))
    assert done.failed == (rows.status == "failed").sum()
    assert rows[(rows.status == "ok") & (rows.ood != "")].auroc.notna().all()
    again = run(suite, results=tmp_path / "r", device="cpu")
    pd.testing.assert_frame_equal(again.rows, rows)
    assert again.made["weights"] == again.made["scores"] == 0
    assert {f.state for f in verify.folder(done.folder, plugins=[own])} <= {HOLDS, UNCHECKED}
    leaderboard = pd.read_csv(done.folder / "leaderboard.csv")
    assert leaderboard[leaderboard.scorer == "msp"].near_auroc.notna().all()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("missing", ["nowhere"]),
        ("shapes", ["features", "logits"]),
        ("scorer", ["'odin'", "network"]),
        ("features", ["features"]),
    ],
)
def test_what_arrays_lack_is_said_before_any_work(tmp_path: Path, harm: str, words: list[str]) -> None:
    write_arrays(tmp_path / "out", features=harm != "features")
    file = arrays_suite(
        tmp_path,
        "[odin]" if harm == "scorer" else "[msp, knn, vim]",
        near="nowhere" if harm == "missing" else "strange",
    )
    if harm == "shapes":
        stored = dict(np.load(tmp_path / "out" / "test.npz"))
        np.savez(tmp_path / "out" / "test.npz", **stored | {"features": stored["features"][:-1]})
    with pytest.raises(UserError) as caught:
        make_plan(load_suite(file))
    for word in words:
        assert word in str(caught.value)


def test_the_reference_scores_run_as_a_suite(tmp_path: Path, shared: Path) -> None:
    data = np.load(shared / "parity" / "digits-mlp.npz")
    (tmp_path / "out").mkdir()
    for name, ours in (("train", "train"), ("val", "val"), ("id_test", "test"), ("ood_test", "strange")):
        tensors = {
            k: torch.from_numpy(np.ascontiguousarray(data[f"{name}.{k}"]))
            for k in ("logits", "features", "labels")
        }
        tensors |= {k: torch.from_numpy(np.ascontiguousarray(data[k])) for k in ("head.weight", "head.bias")}
        save_file(tensors, tmp_path / "out" / f"{ours}.safetensors")
    rows = run_file(arrays_suite(tmp_path, "[mls, {energy: {temperature: 2}}, mds]"), tmp_path).rows
    for label, name in (("mls", "mls"), ("energy(temperature=2)", "ebo_t2"), ("mds", "mds")):
        expected = metrics.detection_metrics(
            -data[f"openood.{name}.id_test"], -data[f"openood.{name}.ood_test"]
        )["auroc"]
        got = rows[(rows.scorer == label) & (rows.ood == "strange")].auroc.iloc[0]
        assert got == pytest.approx(expected, abs=1e-3)


HEADLESS = """
import torch, oodbench
from oodbench import Network, Task
class Cosine(torch.nn.Module):
    def __init__(self, d, c):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(c, d))
    def forward(self, f):
        return torch.nn.functional.normalize(f, dim=1) @ self.w.T
@oodbench.network("cosine-mlp", source="mine")
def cosine_mlp(task: Task) -> Network:
    "A network whose head is not linear."
    body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(8), torch.nn.ReLU())
    body(torch.zeros(2, *task.shape))
    return Network(task, body, Cosine(8, task.classes))
"""


def test_a_scorer_that_needs_a_linear_head_is_refused_or_skipped_as_the_suite_says(
    tiny: Path, tmp_path: Path
) -> None:
    own = plugin(tmp_path, HEADLESS)
    text = TINY.replace("{mlp: {hidden: [16]}}", "cosine-mlp").replace("[msp,", "[msp, react,")
    tiny.write_text(text)
    with pytest.raises(UserError, match=r"needs a linear head.*inapplicable: skip"):
        make_plan(load_suite(tiny, [own]))
    tiny.write_text(text + "inapplicable: skip\n")
    rows = run_file(tiny, tmp_path, plugins=[own]).rows
    skipped = rows[rows.scorer == "react"]
    assert (skipped.status == "skipped").all()
    assert skipped.reason.str.contains("linear head").all()
    assert (rows[rows.scorer == "msp"].status == "ok").all()


def test_a_missing_set_stops_the_plan_or_leaves_its_means_empty(tiny: Path, tmp_path: Path) -> None:
    own = plugin(tmp_path, GONE)
    pair = (
        "{name: p, id: {digits: {classes: [0, 1, 2]}}, near: {others: {digits: {classes: [3]}}}, far: [gone,"
        " noise]}"
    )
    tiny.write_text(TINY.replace("[digits]", f"[{pair}]"))
    suite = load_suite(tiny, [own])
    with pytest.raises(UserError, match="'gone': not in /nowhere"):
        make_plan(suite)
    done = run(suite, results=tmp_path, device="cpu", skip_missing=True, plots=False)
    gone = done.rows[done.rows.ood == "gone"]
    assert (gone.status == "skipped").all()
    board = done.leaderboard
    assert board.far_auroc.isna().all()
    assert board.near_auroc.notna().all()
    tiny.write_text(TINY.replace("[digits]", "[{name: p, id: gone, far: [noise]}]"))
    with pytest.raises(UserError, match="nothing is left to run"):
        make_plan(load_suite(tiny, [own]), skip_missing=True)


KILLED = """
import contextlib, os, signal, sys
import torch
from oodbench.cli.main import main
from oodbench.runs import packing
from oodbench.runs.store import Store

torch.set_num_threads(1)  # as the tests' own processes: sums depend on it
kind, at, begun, draft, write = sys.argv[1], int(sys.argv[2]), [], Store._draft, packing.write_pack

@contextlib.contextmanager
def mortal(self, made, key):
    with draft(self, made, key) as one:
        yield one
        begun.extend([made] * (made == kind))
        if len(begun) == at:  # written, and not yet under its final name
            os.kill(os.getpid(), signal.SIGKILL)

def mortal_pack(path, artefacts):
    content = write(path, artefacts)
    if kind == "scores" and artefacts[0][0][0] == kind:
        os.kill(os.getpid(), signal.SIGKILL)
    return content

Store._draft, packing.write_pack = mortal, mortal_pack
main(sys.argv[3:])
"""


@pytest.mark.parametrize(("kind", "at"), [("weights", 1), ("outputs", 2), ("scores", 1)])
def test_a_killed_run_goes_on_and_loses_at_most_the_artefact_in_hand(
    tiny: Path, tiny_run: Path, tmp_path: Path, kind: str, at: int
) -> None:
    """SIGKILL while one artefact of a kind is being written; the numbers are then those of a run without a
    kill."""
    command = ["run", str(tiny), "--results", str(tmp_path / "r"), "--device", "cpu", "--quiet"]
    killed = subprocess.run([sys.executable, "-c", KILLED, kind, str(at), *command], cwd=ROOT, timeout=240)
    assert killed.returncode == -signal.SIGKILL
    store = tmp_path / "r" / ".store"
    assert not (tmp_path / "r" / "tiny" / "results.csv").exists()
    stored = {f.parent.name: f.read_bytes() for f in store.glob("*/*/*/manifest.json")}
    assert len(list(store.glob(f"{kind}/*/*/manifest.json"))) == at - 1
    assert list((store / "tmp").iterdir()), "the kill left something behind"
    run_file(tiny, tmp_path / "r")
    after = {f.parent.name: f.read_bytes() for f in unpacked(store).glob("*/*/*/manifest.json")}
    assert {k: after[k] for k in stored} == stored, "a finished artefact was made again"
    assert (tmp_path / "r" / "tiny" / "results.csv").read_bytes() == (tiny_run / "results.csv").read_bytes()
    assert not list((store / "tmp").iterdir())
