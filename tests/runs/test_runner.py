"""The straight line on real images: what is made, what is found again, what a change of any input remakes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save_file

from oodbench.core.errors import UserError
from oodbench.core.progress import Reporter
from oodbench.evaluation import metrics
from oodbench.evaluation.rows import ROW_KEYS
from oodbench.runs import folder as results
from oodbench.runs import weights
from oodbench.runs.runner import run
from oodbench.runs.store import Store
from oodbench.suite.load import load_suite
from oodbench.suite.plan import artefacts, make_plan
from tests.conftest import ROOT, TINY


def _run(file: Path, folder: Path, **options: Any) -> Any:
    return run(load_suite(file, options.pop("plugins", ())), results=folder, device="cpu", **options)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(suite file, results folder) of one finished tiny run, shared by the tests that only look."""
    folder = tmp_path_factory.mktemp("done")
    file = folder / "tiny.yaml"
    file.write_text(TINY)
    _run(file, folder / "results")
    return file, folder / "results"


def test_every_file_is_written_and_the_header_is_golden(done: tuple[Path, Path]) -> None:
    folder = done[1] / "tiny"
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


def test_rows_are_complete(done: tuple[Path, Path]) -> None:
    rows = pd.read_csv(done[1] / "tiny" / "results.csv", keep_default_na=False)
    sets = rows[rows.ood != ""].groupby("scorer").ood.nunique()
    assert set(sets.index) == {"msp", "knn(k=5)"}
    assert sets.nunique() == 1
    assert (rows.status == "ok").all()
    assert set(rows["shift"]) == {"near", "far", "none"}
    accuracy = rows[(rows.ood == "") & (rows.scorer == "")].id_accuracy.astype(float)
    assert len(accuracy) == 1
    assert accuracy.iloc[0] > 0.5


def test_a_second_run_makes_nothing_and_writes_the_same_bytes(done: tuple[Path, Path]) -> None:
    file, folder = done
    names = ("results.csv", "timing.csv", "leaderboard.csv", "suite.yaml")
    before = {n: (folder / "tiny" / n).read_bytes() for n in names}
    again = _run(file, folder)
    assert again.made == {"weights": 0, "outputs": 0, "choices": 0, "scores": 0}
    assert {n: (folder / "tiny" / n).read_bytes() for n in names} == before


def test_the_resolved_suite_asks_for_the_same_artefacts(done: tuple[Path, Path]) -> None:
    file, folder = done
    first, second = (
        list(artefacts(make_plan(load_suite(f)))) for f in (file, folder / "tiny" / "suite.yaml")
    )
    assert [a[:2] for a in first] == [a[:2] for a in second]


def test_the_history_has_a_row_for_every_epoch(done: tuple[Path, Path]) -> None:
    table = pd.read_csv(done[1] / "tiny" / "history.csv", keep_default_na=False)
    assert list(table.columns) == [*results.HISTORY]
    assert table.epoch.tolist() == [0, 1]
    assert table.lr.tolist() == sorted(table.lr, reverse=True)
    assert table.loss[1] < table.loss[0]
    assert table.val_accuracy.between(0, 1).all()
    assert set(table.method) == {"cross-entropy"}


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
    _run(tiny, tmp_path, reporter=Reporter(console=console))
    text = screen.getvalue()
    assert re.search(
        r"train digits.*/2.*\d:\d\d:\d\d.*loss [\d.]+.*val_accuracy 0\.\d+.*images_per_second \d", text
    )


def test_a_deleted_or_damaged_artefact_alone_is_made_again(tiny: Path, tmp_path: Path) -> None:
    _run(tiny, tmp_path)
    before = (tmp_path / "tiny" / "results.csv").read_bytes()
    victim = next((tmp_path / ".store" / "outputs").rglob("outputs.safetensors"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 255
    victim.write_bytes(data)
    assert _run(tiny, tmp_path).made == {"weights": 0, "outputs": 1, "choices": 0, "scores": 0}
    victim = next((tmp_path / ".store" / "scores").rglob("manifest.json"))
    victim.unlink()
    assert _run(tiny, tmp_path).made == {"weights": 0, "outputs": 0, "choices": 0, "scores": 1}
    assert (tmp_path / "tiny" / "results.csv").read_bytes() == before


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
    plugin = tmp_path / "norm.py"
    plugin.write_text(PLUGIN)
    tiny.write_text(TINY.replace("[msp,", "[msp, norm,"))
    first = _run(tiny, tmp_path, plugins=[plugin])
    assert "norm" in set(first.rows.scorer)
    sets = first.made["scores"] // 3
    plugin.write_text(PLUGIN.replace("-outputs.features.norm(dim=1)", "-2 * outputs.features.norm(dim=1)"))
    assert _run(tiny, tmp_path, plugins=[plugin]).made == {
        "weights": 0,
        "outputs": 0,
        "choices": 0,
        "scores": sets,
    }


BROKEN = """
import torch, oodbench
@oodbench.scorer("broken", source="mine")
class Broken(oodbench.Scorer):
    "Not a number."
    def score(self, outputs):
        return torch.full((len(outputs),), float("nan"))
"""


def test_a_scorer_that_fails_is_a_row_with_its_reason_and_the_run_goes_on(tiny: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(BROKEN)
    tiny.write_text(TINY.replace("[msp,", "[broken, msp,"))
    rows = _run(tiny, tmp_path, plugins=[plugin]).rows
    failed = rows[rows.scorer == "broken"]
    assert (failed.status == "failed").all()
    assert failed.reason.str.contains("broken").all()
    assert (rows[rows.scorer == "msp"].status == "ok").all()


DIVERGES = """
import oodbench
@oodbench.method("diverges", source="mine")
class Diverges(oodbench.Method):
    "A loss that is not a number."
    def criterion(self, logits, labels):
        return logits.sum(dim=1) * float("nan")
"""


def test_a_training_that_diverges_is_failed_rows_and_the_others_go_on(tiny: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "diverges.py"
    plugin.write_text(DIVERGES)
    tiny.write_text(TINY.replace("[cross-entropy]", "[diverges, cross-entropy]"))
    rows = _run(tiny, tmp_path, plugins=[plugin]).rows
    assert (rows[rows.method == "diverges"].status == "failed").all()
    assert (rows[rows.method == "cross-entropy"].status == "ok").all()


# ---------------------------------------------------------------- a user's arrays and weights


def _arrays(folder: Path, n: int = 60, features: bool = True) -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(3, 8)).astype(np.float32), np.zeros(3, np.float32)
    folder.mkdir()
    for name, shift in (("train", 0.0), ("val", 0.0), ("test", 0.0), ("strange", 4.0)):
        f = (rng.normal(size=(n, 8)) + shift).astype(np.float32)
        z = f @ weight.T + bias
        data = {"logits": z, "labels": z.argmax(1)} | ({"features": f} if features else {})
        np.savez(folder / f"{name}.npz", **data, **{"head.weight": weight, "head.bias": bias})


def _arrays_suite(folder: Path, scorers: str = "[msp, knn, vim, react]", near: str = "strange") -> Path:
    file = folder / "arrays.yaml"
    file.write_text(
        f"name: mine\npairs: [{{arrays: {{near: [{near}]}}}}]\nmethods: [{{outputs: {{folder:"
        f" out}}}}]\nscorers: {scorers}\n"
    )
    return file


def test_a_folder_of_arrays_is_scored_without_a_network(tmp_path: Path) -> None:
    _arrays(tmp_path / "out")
    file = _arrays_suite(tmp_path)
    done = _run(file, tmp_path)
    assert (done.rows.status == "ok").all()
    assert set(done.rows.scorer) == {"", "msp", "knn", "vim", "react"}
    assert done.made["weights"] == 0
    assert _run(file, tmp_path).made == {"weights": 0, "outputs": 0, "choices": 0, "scores": 0}


def test_changed_arrays_are_scored_again(tmp_path: Path) -> None:
    _arrays(tmp_path / "out")
    file = _arrays_suite(tmp_path, "[msp, knn]")
    _run(file, tmp_path)
    stored = dict(np.load(tmp_path / "out" / "strange.npz"))
    stored["logits"] = stored["logits"] * 2
    np.savez(tmp_path / "out" / "strange.npz", **stored)
    assert _run(file, tmp_path).made["scores"] == 2


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
    _arrays(tmp_path / "out", features=harm != "features")
    file = _arrays_suite(
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
    rows = _run(_arrays_suite(tmp_path, "[mls, {energy: {temperature: 2}}, mds]"), tmp_path).rows
    for label, name in (("mls", "mls"), ("energy(temperature=2)", "ebo_t2"), ("mds", "mds")):
        expected = metrics.detection_metrics(
            -data[f"openood.{name}.id_test"], -data[f"openood.{name}.ood_test"]
        )["auroc"]
        got = rows[(rows.scorer == label) & (rows.ood == "strange")].auroc.iloc[0]
        assert got == pytest.approx(expected, abs=1e-3)


def test_a_users_checkpoint_is_scored_and_its_content_is_identity(tiny: Path, tmp_path: Path) -> None:
    _run(tiny, tmp_path)
    weights = next((tmp_path / ".store" / "weights").rglob("weights.safetensors"))
    file = tmp_path / "mine.safetensors"
    file.write_bytes(weights.read_bytes())
    tiny.write_text(
        TINY.replace("name: tiny", "name: own").replace(
            "[cross-entropy]", "[{checkpoint: {file: mine.safetensors}}]"
        )
    )
    own = _run(tiny, tmp_path)
    assert own.made["weights"] == 1
    trained = pd.read_csv(tmp_path / "tiny" / "results.csv").set_index(["scorer", "ood"]).auroc.dropna()
    assert own.rows.fillna({"scorer": "", "ood": ""}).set_index(
        ["scorer", "ood"]
    ).auroc.dropna().tolist() == pytest.approx(trained.tolist())
    with torch.no_grad():
        from safetensors.torch import load_file

        state = {k: v + 0.01 for k, v in load_file(file).items()}
    save_file(state, file)
    assert _run(tiny, tmp_path).made["weights"] == 1


# ---------------------------------------------------------------- what cannot run


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
    plugin = tmp_path / "cosine.py"
    plugin.write_text(HEADLESS)
    text = TINY.replace("{mlp: {hidden: [16]}}", "cosine-mlp").replace("[msp,", "[msp, react,")
    tiny.write_text(text)
    with pytest.raises(UserError, match=r"needs a linear head.*inapplicable: skip"):
        make_plan(load_suite(tiny, [plugin]))
    tiny.write_text(text + "inapplicable: skip\n")
    rows = _run(tiny, tmp_path, plugins=[plugin]).rows
    skipped = rows[rows.scorer == "react"]
    assert (skipped.status == "skipped").all()
    assert skipped.reason.str.contains("linear head").all()
    assert (rows[rows.scorer == "msp"].status == "ok").all()


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


def test_a_missing_set_stops_the_plan_or_leaves_its_means_empty(tiny: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "gone.py"
    plugin.write_text(GONE)
    pair = (
        "{name: p, id: {digits: {classes: [0, 1, 2]}}, near: {others: {digits: {classes: [3]}}}, far: [gone,"
        " noise]}"
    )
    tiny.write_text(TINY.replace("[digits]", f"[{pair}]"))
    suite = load_suite(tiny, [plugin])
    with pytest.raises(UserError, match="'gone': not in /nowhere"):
        make_plan(suite)
    done = run(suite, results=tmp_path, device="cpu", skip_missing=True)
    gone = done.rows[done.rows.ood == "gone"]
    assert (gone.status == "skipped").all()
    board = done.leaderboard
    assert board.far_auroc.isna().all()
    assert board.near_auroc.notna().all()
    tiny.write_text(TINY.replace("[digits]", "[{name: p, id: gone, far: [noise]}]"))
    with pytest.raises(UserError, match="nothing is left to run"):
        make_plan(load_suite(tiny, [plugin]), skip_missing=True)


# ---------------------------------------------------------------- kill and go on


KILLED = """
import contextlib, os, signal, sys
from oodbench.cli.main import main
from oodbench.runs.store import Store

kind, begun, draft = sys.argv[1], [], Store.draft

@contextlib.contextmanager
def mortal(self, made, key):
    with draft(self, made, key) as one:
        yield one
        begun.extend([made] * (made == kind))
        if len(begun) == 2:  # written, and not yet under its final name
            os.kill(os.getpid(), signal.SIGKILL)

Store.draft = mortal
main(sys.argv[2:])
"""


@pytest.mark.parametrize("kind", ["weights", "outputs", "scores"])
def test_a_killed_run_goes_on_and_loses_at_most_the_artefact_in_hand(tmp_path: Path, kind: str) -> None:
    """SIGKILL while the second artefact of a kind is being written."""
    file = tmp_path / "kill.yaml"
    text = TINY.replace("name: tiny", "name: kill")
    file.write_text(text.replace("[cross-entropy]", "[cross-entropy, {label-smoothing: {}}]"))
    command = ["run", str(file), "--results", str(tmp_path / "r"), "--device", "cpu", "--quiet"]
    killed = subprocess.run([sys.executable, "-c", KILLED, kind, *command], cwd=ROOT, timeout=240)
    assert killed.returncode == -signal.SIGKILL
    store = tmp_path / "r" / ".store"
    assert not (tmp_path / "r" / "kill" / "results.csv").exists()
    stored = {f.parent.name: f.stat().st_mtime_ns for f in store.glob("*/*/*/manifest.json")}
    assert len(list(store.glob(f"{kind}/*/*/manifest.json"))) == 1
    again = _run(file, tmp_path / "r")
    assert (again.rows.status == "ok").all()
    after = {f.parent.name: f.stat().st_mtime_ns for f in store.glob("*/*/*/manifest.json")}
    assert {k: after[k] for k in stored} == stored, "a finished artefact was made again"
    whole = _run(file, tmp_path / "whole")
    pd.testing.assert_frame_equal(again.rows, whole.rows)
    assert not list((store / "tmp").iterdir())


DIES = """
import sys
from pathlib import Path
import torch
from tests.runs.test_runner import weights_of
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


def test_timing_and_provenance_are_kept_beside_the_results(done: tuple[Path, Path]) -> None:
    timing = pd.read_csv(done[1] / "tiny" / "timing.csv")
    assert set(timing.stage) == {"train", "extract", "fit", "score"}
    assert (timing.seconds >= 0).all()
    record = json.loads(next((done[1] / ".store" / "weights").rglob("run.json")).read_text())
    assert {"torch", "device", "seconds", "commit", "recipe", "python"} <= set(record)
