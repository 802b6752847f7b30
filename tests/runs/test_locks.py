"""Locks save work where they reach, and nothing depends on them."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from oodbench.core.errors import UserError
from oodbench.core.progress import Reporter
from oodbench.runs.engine import Engine
from oodbench.runs.locks import SWITCH, alone
from oodbench.runs.store import CannotKeep, Store
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from tests.runs.suites import SMALL
from tests.unpacked import unpacked


def nobody(whom: str) -> None:
    pytest.fail(f"waited for {whom}")


def together(path: Path, count: int = 4, rounds: int = 25) -> int:
    """How many threads were at most inside at once."""
    inside, most, guard = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(rounds):
            with alone(path, lambda whom: None):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return most


def test_one_at_a_time_and_no_file_is_left(tmp_path: Path) -> None:
    assert together(tmp_path / "x.lock") == 1
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_was_swept_away_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with alone(path, nobody):
        path.unlink()
        with alone(path, nobody):
            assert path.exists()
        path.touch()
    assert path.exists(), "it was not ours"


def _raise(number: int) -> Callable[..., Any]:
    def call(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return call


NONE = ["ENOSYS", "ENOTSUP", "ENOLCK", "EPERM", "EACCES"]


@pytest.mark.parametrize("number", NONE)
def test_where_there_are_no_locks_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setattr(fcntl, "flock", _raise(getattr(errno, number)))
    inside = 0
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(alone(tmp_path / "x.lock", nobody))
            inside += 1
    assert inside == 2, "the second did not wait for the first"


def test_a_lock_file_of_another_user_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", _raise(errno.EACCES))
    with alone(tmp_path / "x.lock", nobody), alone(tmp_path / "x.lock", nobody):
        assert not (tmp_path / "x.lock").exists()


def test_a_full_disk_is_no_missing_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr(os, "open", _raise(errno.ENOSPC))
    with pytest.raises(CannotKeep, match="No space left"), store.lock("weights", "ab" * 32):
        pass


def test_they_are_switched_off_and_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    with alone(tmp_path / "x", nobody), alone(tmp_path / "x", nobody):
        assert not (tmp_path / "x").exists()
    monkeypatch.setenv(SWITCH, "On")
    with alone(tmp_path / "x", nobody):
        assert (tmp_path / "x").exists()
    monkeypatch.setenv(SWITCH, "never")
    with pytest.raises(UserError, match=r"^OODBENCH_LOCKS: should be 'on' or 'off', got 'never'$"):
        Store(tmp_path / "store")


SUITE: dict[str, Any] = SMALL | {"scorers": ["msp", "energy", {"knn": {"k": 5}}], "tune": ["none", "id"]}


def _work(root: Path, how: str, start: Any, told: Any) -> None:
    import torch

    torch.set_num_threads(1)
    if how == "off":
        os.environ[SWITCH] = "off"
    else:
        fcntl.flock = _raise(errno.ENOLCK)
    said: list[str] = []
    engine = Engine(Store(root, said.append), "cpu", Reporter(quiet=True))
    (one,) = make_plan(parse_suite(SUITE)).runs
    start.wait()
    held = engine.work(one)
    told.put((sorted(held.absent), said))


@pytest.fixture(scope="module")
def alone_made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("alone")
    engine = Engine(Store(root), "cpu", Reporter(quiet=True))
    engine.work(make_plan(parse_suite(SUITE)).runs[0])
    return content(root)


def content(root: Path) -> dict[str, bytes]:
    """All tensors and choices of a store, packed or not, by artefact; what they cost in seconds left out."""
    unpacked(root)
    kinds = ("weights", "outputs", "choices", "scores")
    files = [f for kind in kinds for f in (root / kind).rglob("*") if f.suffix == ".safetensors"]
    files += list((root / "choices").rglob("choice.json"))
    return {str(f.relative_to(root)): f.read_bytes() for f in files}


@pytest.mark.parametrize("how", ["off", "raise"])
def test_processes_without_locks_make_one_run_together(
    tmp_path: Path, alone_made: dict[str, bytes], how: str
) -> None:
    """Trained, extracted, tuned, scored and packed by three at once: the same bytes, and none dies."""
    context = multiprocessing.get_context("spawn")
    start, told = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_work, args=(tmp_path, how, start, told)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [told.get(timeout=240) for _ in workers]
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0, 0, 0]
    assert found == [([], [])] * 3
    assert not list((tmp_path / "tmp").iterdir())
    assert not list((tmp_path / "state").iterdir())
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    assert len(files) <= 20, files
    assert content(tmp_path) == alone_made
