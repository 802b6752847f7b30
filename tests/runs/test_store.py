"""Artefacts by key: whole or not at all, one lock each, damage told."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

import oodbench.runs.artefact
import oodbench.runs.locks
import oodbench.runs.shards
import oodbench.runs.states
from oodbench.core.errors import UserError
from oodbench.runs.artefact import HOLDS, Draft, damage
from oodbench.runs.drafts import me
from oodbench.runs.store import CannotKeep, Store

KEY = "ab" * 32


def _fill(draft: Draft, value: float) -> None:
    draft.tensors("scores", {"scores": torch.full((5,), value)})
    draft.json("meta", {"n": 5})


def _write(store: Store, value: float = 1.0) -> None:
    with store.lock("scores", KEY) as held, held.draft() as draft:
        _fill(draft, value)


def _write_outputs(store: Store) -> None:
    with store.lock("outputs", KEY) as held, held.draft() as draft:
        draft.tensors("outputs", {"x": torch.ones(3)})
        draft.json("meta", {})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get("scores", KEY) is None
    assert not store.has("scores", KEY)
    _write(store)
    artefact = Store(tmp_path).get("scores", KEY)
    assert artefact is not None
    assert artefact.tensors("scores")["scores"].tolist() == [1.0] * 5
    assert artefact.json("meta") == {"n": 5}


def test_a_failed_draft_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with (  # noqa: PT012
        pytest.raises(RuntimeError),
        store.lock("scores", KEY) as held,
        held.draft() as draft,
    ):
        draft.json("meta", {})
        raise RuntimeError
    assert not store.has("scores", KEY)
    assert list((tmp_path / "tmp").iterdir()) == []


def _dead() -> int:
    """The number of a process that was and is no more."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


@pytest.mark.parametrize(
    ("owner", "age", "stays"),
    [
        ("of a dead process", 0, False),
        ("of a live process", 0, True),
        ("of a live process", 30, True),
        ("of another machine", 0, True),
        ("of another machine", 30, False),
    ],
)
def test_only_a_draft_that_nobody_writes_is_removed(
    tmp_path: Path, owner: str, age: int, stays: bool
) -> None:
    """Its name says whose it is, its age in days whether one elsewhere still grows."""
    host = "elsewhere.example" if "machine" in owner else me()["host"]
    pid = _dead() if "dead" in owner else os.getppid()
    store = Store(tmp_path)
    left = tmp_path / "tmp" / f"outputs-{KEY}-{host}-{pid}-0123abcd"
    left.mkdir()
    (left / "half").write_text("x")
    then = time.time() - age * 86400
    os.utime(left / "half", (then, then))
    os.utime(left, (then, then))
    _write_outputs(store)
    assert left.exists() == stays
    other = tmp_path / "tmp" / f"outputs-{'cd' * 32}-{host}-{_dead()}-0123abcd"
    other.mkdir()
    _write_outputs(store)
    assert other.exists(), "another artefact's draft is another lock's"


@pytest.mark.parametrize("kind", sorted(HOLDS))
def test_an_artefact_that_is_whole_by_its_manifest_but_lacks_a_file_is_made_again(
    tmp_path: Path, kind: str
) -> None:
    def write(names: Iterable[str]) -> None:
        with store.lock(kind, KEY) as held, held.draft() as draft:
            for name in names:
                stem, _, suffix = name.partition(".")
                draft.json(stem, {}) if suffix == "json" else draft.tensors(stem, {"x": torch.ones(1)})

    said: list[str] = []
    store = Store(tmp_path, said.append)
    for name in HOLDS[kind]:
        with pytest.raises(AssertionError, match="without"):
            write(HOLDS[kind] - {name})
        assert not store.has(kind, KEY)
        write(HOLDS[kind])
        folder = next((tmp_path / kind).glob("*/*"))
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest[name]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        again = Store(tmp_path, said.append)
        assert again.get(kind, KEY) is None
        assert again.get(kind, KEY) is None
        assert (
            said.pop() == f"damaged {kind} {KEY[:12]}: {name} is not in the manifest; it will be made again"
        )
        assert not said, "told once"
        store = again
        write(HOLDS[kind])
        assert store.get(kind, KEY) is not None
        (folder / "manifest.json").unlink()
        store = Store(tmp_path, said.append)


def test_who_waits_for_a_lock_is_told_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oodbench.runs.locks, "ANNOUNCED_AFTER", 0.05)
    said: list[str] = []
    first, second = Store(tmp_path), Store(tmp_path, said.append)
    waiting = threading.Event()

    def wait() -> None:
        with second.lock("scores", KEY):
            waiting.set()

    with first.lock("scores", KEY):
        worker = threading.Thread(target=wait)
        worker.start()
        while not said:
            time.sleep(0.01)
        assert not waiting.is_set()
    worker.join()
    assert waiting.is_set()
    assert len(said) == 1
    assert said[0].startswith(f"waiting for scores {KEY[:12]}, which process {os.getpid()} on ")
    assert not list((tmp_path / "locks").iterdir())


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "manifest"])
def test_damage_is_reported_and_the_artefact_counts_as_missing(tmp_path: Path, harm: str) -> None:
    _write(Store(tmp_path))
    file = next((tmp_path / "scores").rglob("scores.safetensors"))
    if harm == "flip":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    elif harm == "remove":
        file.unlink()
    else:
        (file.parent / "manifest.json").write_text("{")
    assert damage(file.parent, "scores")
    said: list[str] = []
    store = Store(tmp_path, said.append)
    assert store.get("scores", KEY) is None
    assert len(said) == 1
    assert "damaged scores" in said[0]
    _write(store, 2.0)
    artefact = store.get("scores", KEY)
    assert artefact is not None
    assert artefact.tensors("scores")["scores"][0] == 2.0


def test_rows_of_an_artefact_come_batch_by_batch(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("outputs", KEY) as held, held.draft() as draft:
        draft.json("meta", {})
        with draft.rows("outputs", 3) as writer:
            writer.put({"x": torch.zeros(2)})
            writer.put({"x": torch.ones(1)})
    artefact = store.get("outputs", KEY)
    assert artefact is not None
    assert artefact.tensors("outputs")["x"].tolist() == [0.0, 0.0, 1.0]
    assert artefact.bytes == sum(f.stat().st_size for f in artefact.folder.iterdir())


def test_rows_that_are_not_all_there_leave_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with (
        pytest.raises(ValueError, match="rows"),
        store.lock("outputs", KEY) as held,
        held.draft() as draft,
        draft.rows("outputs", 6) as writer,
    ):
        writer.put({"x": torch.zeros(3, 2)})
    assert not store.has("outputs", KEY)


def test_training_state_is_replaced_whole_and_a_damaged_one_is_dropped(tmp_path: Path) -> None:
    said: list[str] = []
    store = Store(tmp_path, said.append)
    assert store.load_state(KEY) is None
    store.save_state(KEY, {"w": torch.ones(2)}, {"epoch": 1})
    store.save_state(KEY, {"w": torch.full((2,), 2.0)}, {"epoch": 2})
    loaded = store.load_state(KEY)
    assert loaded is not None
    assert loaded[0]["w"].tolist() == [2.0, 2.0]
    assert loaded[1] == {"epoch": 2}
    assert len(list((tmp_path / "state").iterdir())) == 1
    next((tmp_path / "state").iterdir()).write_bytes(b"x")
    assert store.load_state(KEY) is None
    assert said


def _first(root: Path, held: Any, trying: Any, told: Any) -> None:
    store = Store(root)
    with store.lock("scores", KEY) as mine:
        held.set()
        trying.wait()
        told.put("first makes")
        with mine.draft() as draft:
            _fill(draft, 3.0)
        told.put("first leaves")


def _second(root: Path, held: Any, trying: Any, told: Any) -> None:
    store = Store(root)
    held.wait()
    trying.set()
    with store.lock("scores", KEY):
        told.put("second finds" if store.has("scores", KEY) else "second makes")


def test_what_one_process_makes_another_waits_for_and_finds(tmp_path: Path) -> None:
    """The first holds the lock until the second is at it."""
    context = multiprocessing.get_context("spawn")
    held, trying, told = context.Event(), context.Event(), context.Queue()
    workers = [context.Process(target=w, args=(tmp_path, held, trying, told)) for w in (_first, _second)]
    for w in workers:
        w.start()
    said = [told.get(timeout=120) for _ in range(3)]
    for w in workers:
        w.join()
    assert [w.exitcode for w in workers] == [0, 0]
    assert said == ["first makes", "first leaves", "second finds"]


def test_an_opened_store_makes_and_removes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no artefacts"):
        Store.opened(tmp_path)
    assert not list(tmp_path.iterdir())
    _write(Store(tmp_path), 1.0)
    before = sorted(p for p in tmp_path.rglob("*"))
    file = next(tmp_path.rglob("scores.safetensors"))
    file.write_bytes(b"damaged")
    store = Store.opened(tmp_path)
    assert store.get("scores", KEY) is None
    assert "scores.safetensors" in store.damage("scores", KEY)
    assert store.damage("scores", "f" * 64) == "", "what is not there is not damaged"
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_a_duplicate_made_without_the_lock_is_harmless(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _write(store, 1.0)
    _write(store, 1.0)
    assert Store(tmp_path).get("scores", KEY) is not None


def test_a_large_duplicate_takes_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would ever go on with its shards: the artefact is there."""
    monkeypatch.setattr(oodbench.runs.shards, "SHARD", 2)
    store = Store(tmp_path / "a")
    for one in (Store(tmp_path / "b"), store):
        with one.lock("outputs", KEY) as held, held.draft() as draft:
            draft.json("meta", {})
            with draft.rows("outputs", 5) as writer:
                writer.put({"x": torch.arange(5)})
            if one is store:  # another machine, which our lock does not reach, is done first
                shutil.copytree(tmp_path / "b/outputs", tmp_path / "a/outputs")
    assert store.damage("outputs", KEY) == ""
    assert list((tmp_path / "a/tmp").iterdir()) == []


def test_an_unwritable_store_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path / "file" / "store")


@pytest.mark.parametrize("at", ["mkdir", "rename", "fsync", "a batch", "a tensor"])
def test_a_disk_that_is_full_ends_the_run_in_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """More work would be lost too."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device") if at == "a tensor" else full

    store = Store(tmp_path)
    where = {"mkdir": (Path, "mkdir"), "rename": (os, "rename"), "fsync": (os, "fsync"),
             "a batch": (os, "pwrite"), "a tensor": (oodbench.runs.artefact, "save_file")}[at]  # fmt: skip
    with (  # noqa: PT012
        monkeypatch.context() as patched,
        store.lock("outputs", KEY) as held,
        pytest.raises(CannotKeep, match=rf"^store {tmp_path}: cannot be written \(.*No space left on device"),
    ):
        patched.setattr(*where, fail)
        with held.draft() as draft:
            draft.json("meta", {})
            draft.tensors("more", {"x": torch.ones(1)})
            with draft.rows("outputs", 2) as writer:
                writer.put({"x": torch.zeros(2)})
    assert not store.has("outputs", KEY)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_cannot_be_read_while_an_artefact_is_made_is_no_fault_of_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.lock("outputs", KEY) as held, pytest.raises(PermissionError), held.draft():
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "image.png"))


def test_a_training_state_that_cannot_be_saved_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(oodbench.runs.states, "save_file", fail)
    Store(tmp_path, said.append).save_state(KEY, {"w": torch.ones(2)}, {})
    assert len(said) == 1
    assert "No space left" in said[0]
    assert list((tmp_path / "state").iterdir()) == []


def test_a_path_that_is_no_text_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="reads no path that is not text"):
        Store(tmp_path / os.fsdecode(b"caf\xe9"))
    assert list(tmp_path.iterdir()) == []
    Store(tmp_path / "café")
