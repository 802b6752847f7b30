"""One process at a time, and a word to who waits."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from oodbench.data.sources import locks
from oodbench.data.sources.locks import alone


def test_two_are_never_inside_together(tmp_path: Path) -> None:
    """Three processes write where they are and leave again; none meets another."""
    trace = tmp_path / "trace"
    trace.touch()
    children = []
    for name in "abc":
        child = os.fork()
        if not child:
            try:
                for _ in range(5):
                    with alone(tmp_path / "made"), open(trace, "a") as f:
                        for _ in range(20):
                            print(name, file=f, flush=True)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children] == [0, 0, 0]
    lines = trace.read_text().split()
    assert len(lines) == 300
    assert all(len(set(lines[i : i + 20])) == 1 for i in range(0, 300, 20))
    assert [f.name for f in tmp_path.iterdir()] == ["trace"]


def test_who_waits_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with alone(tmp_path / "made"):
            inside.set()
            leave.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(20)
    threading.Timer(0.5, leave.set).start()
    start = time.monotonic()
    with (
        pytest.warns(UserWarning, match="waiting for another process that is making .*made"),
        alone(tmp_path / "made"),
    ):
        assert time.monotonic() - start >= 0.05
    holder.join()


def test_what_fails_leaves_the_lock_to_the_next(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), alone(tmp_path / "made"):
        raise RuntimeError
    with alone(tmp_path / "made"):
        pass
