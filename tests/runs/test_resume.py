"""An extraction that was killed, through the whole of a run: what was finished is kept, and the bytes are
those of a run without a break."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from oodbench.core.network import Network
from oodbench.core.progress import Reporter
from oodbench.runs import outputs, shards
from oodbench.runs.engine import Engine
from oodbench.runs.findings import HOLDS
from oodbench.runs.runner import run
from oodbench.runs.store import Store
from oodbench.runs.tensor_file import RowWriter
from oodbench.scoring import extract
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from tests.conftest import ROOT
from tests.runs.checked import findings
from tests.runs.suites import PAIR, SMALL
from tests.unpacked import unpacked

SCRIPT = ROOT / "benchmarks" / "imagenet_scale.py"


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """(rows of the file, first and last row) of every batch that is written."""
    seen: list[tuple[int, int, int]] = []
    real = RowWriter.put

    def noted(self: RowWriter, batch: Any) -> None:
        at = self._at
        real(self, batch)
        seen.append((self._n, at, self._at))

    monkeypatch.setattr(RowWriter, "put", noted)
    return seen


def stored(results: Path) -> dict[str, bytes]:
    """The tensors of every stored output, by key."""
    files = (unpacked(results / ".store") / "outputs").rglob("outputs.safetensors")
    return {f.parent.name: f.read_bytes() for f in files}


def test_image_files_are_gone_on_with_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, puts: list[tuple[int, int, int]]
) -> None:
    """`benchmarks/imagenet_scale.py` with 300 real JPEGs and one kill."""
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("imagenet_scale", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    scale: Any = importlib.util.module_from_spec(spec)
    sys.modules["imagenet_scale"] = scale
    spec.loader.exec_module(scale)
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    file = scale.prepare(tmp_path / "data", 300, 16)
    killed = subprocess.run(
        [sys.executable, SCRIPT, "--child", file, "--results", tmp_path / "killed", "--shard", "32",
         "--kill-at", "170"], check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    monkeypatch.setattr(shards, "SHARD", 32)
    for results in ("killed", "whole"):
        assert run(file, results=tmp_path / results, device="cpu", plots=False).failed == 0
    train = [(at, end) for n, at, end in puts if n == 300]
    assert train[0] == (160, 176), "of 176 rows, 160 were in finished shards"
    assert train[-1][1] == 300
    assert stored(tmp_path / "killed") == stored(tmp_path / "whole")
    rows = [(tmp_path / r / "scale" / "results.csv").read_bytes() for r in ("killed", "whole")]
    assert rows[0] == rows[1]
    assert not list((tmp_path / "killed/.store/tmp").iterdir())


VIEWED: dict[str, Any] = SMALL | {
    "name": "viewed",
    "pairs": [PAIR | {"far": {"grey": {"noise": {"size": 8, "channels": 1, "count": 150}}}}],
    "scorers": ["msp", {"mc-dropout": {"passes": 3}}],
}  # fmt: skip
"""A view that draws at random, on more images than it sees together."""


def work(suite: dict[str, Any], results: Path) -> None:
    """Make all that is stored, without tables and page."""
    engine = Engine(Store(results / ".store"), "cpu", Reporter(quiet=True))
    for one in make_plan(parse_suite(suite)).runs:
        engine.work(one)


class _Stop(BaseException):
    """As Ctrl-C."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards and batches of 16 images."""
    monkeypatch.setattr(shards, "SHARD", 16)
    monkeypatch.setattr(extract, "BATCH", 16)
    for module in (extract, outputs):
        monkeypatch.setattr(module, "VIEW_BATCH", 16)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("stop", [40, 150, 400, 640])
def test_views_that_draw_at_random_are_gone_on_with_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, puts: list[tuple[int, int, int]], stop: int
) -> None:
    """Stopped anywhere, in plain outputs or in a view's."""
    work(VIEWED, tmp_path / "whole")
    every = sum(end - at for _, at, end in puts)
    puts.clear()
    with monkeypatch.context() as patched:
        counted = RowWriter.put

        def stopping(self: RowWriter, batch: Any) -> None:
            counted(self, batch)
            if sum(end - at for _, at, end in puts) >= stop:
                raise _Stop

        patched.setattr(RowWriter, "put", stopping)
        with pytest.raises(_Stop):
            work(VIEWED, tmp_path / "stopped")
    work(VIEWED, tmp_path / "stopped")
    assert stored(tmp_path / "stopped") == stored(tmp_path / "whole")
    assert sum(end - at for _, at, end in puts) - every <= 16


@pytest.mark.usefixtures("small")
def test_a_damaged_shard_of_stored_outputs_is_extracted_again_alone(
    tmp_path: Path, puts: list[tuple[int, int, int]]
) -> None:
    work(VIEWED, tmp_path)
    before = stored(tmp_path)
    victim = max((tmp_path / ".store/outputs").rglob("outputs.safetensors"), key=lambda f: f.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[-1] ^= 255
    victim.write_bytes(data)
    puts.clear()
    work(VIEWED, tmp_path)
    ((n, first, last),) = puts
    assert (first, last) == (n - n % 16, n)
    assert stored(tmp_path) == before


def test_the_network_is_not_even_built_where_all_shards_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    """Killed between the last shard and the end."""
    work(SMALL, tmp_path)
    before = stored(tmp_path)
    folder = max(
        (f.parent for f in (tmp_path / ".store/outputs").rglob("meta.json")),
        key=lambda f: (f / "outputs.safetensors").stat().st_size,
    )
    (folder / "meta.json").unlink()
    monkeypatch.setattr(Network, "features", lambda *_: pytest.fail("extracted"))
    work(SMALL, tmp_path)
    assert stored(tmp_path) == before
    assert not any(Store.opened(tmp_path / ".store").damage("outputs", key) for key in before)


# ---------------------------------------------------------------- half precision


def test_features_in_half_precision_are_another_key_and_half_the_bytes(tmp_path: Path) -> None:
    plain = SMALL | {"scorers": ["msp", {"knn": {"k": 5}}, "mds", "vim"]}
    full = run(parse_suite(plain), results=tmp_path, device="cpu", plots=False)
    wide = stored(tmp_path)
    half = run(parse_suite(plain | {"store": {"dtype": "fp16"}}), results=tmp_path, device="cpu", plots=False)
    assert half.made["weights"] == 0
    assert half.made["outputs"] == full.made["outputs"]
    new = {k: v for k, v in stored(tmp_path).items() if k not in wide}
    assert len(new) == len(wide)
    files = (tmp_path / ".store" / "outputs").rglob("outputs.safetensors")
    by_set: dict[str, dict[torch.dtype, Any]] = {}
    for f in files:
        tensors = load_file(f)
        name = (f.parent / "meta.json").read_text().split('"set": "')[1].split('"')[0]
        by_set.setdefault(name, {})[tensors["features"].dtype] = tensors
    for two in by_set.values():
        a, b = two[torch.float32], two[torch.float16]
        assert torch.equal(a["features"].half(), b["features"])
        assert torch.equal(a["logits"], b["logits"])
    assert findings(half.folder, remake=["outputs", "scores"])["outputs"].state == HOLDS
    a, b = (r.rows.set_index(["scorer", "ood"])["auroc"] for r in (full, half))
    assert ((a - b).abs().fillna(0) < 0.02).all()
    assert (a["msp"].dropna() == b["msp"].dropna()).all(), "logits are stored as ever"


def test_a_set_with_features_beyond_half_precision_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of an OOD set costs its rows alone."""
    real = extract.outputs_of

    def huge(network: Network, samples: Any, *a: Any, **k: Any) -> Iterator[dict[str, torch.Tensor]]:
        for rows in real(network, samples, *a, **k):
            yield rows | ({"features": rows["features"] + 7e4} if len(samples) == 100 else {})

    monkeypatch.setattr(outputs, "outputs_of", huge)
    done = run(parse_suite(SMALL | {"store": {"dtype": "fp16"}}), results=tmp_path, device="cpu", plots=False)
    failed = done.rows[done.rows["status"] == "failed"]
    assert set(failed["ood"]) == {"grey"}
    assert set(
        failed["reason"].str.contains("beyond half precision (65504); store them as", regex=False)
    ) == {True}
