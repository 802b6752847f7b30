"""Processes of this machine: kept, replaced, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.runs.executors.contract import Lost
from oodbench.runs.executors.local import LocalProcesses, shares, visible_cards
from tests.conftest import ROOT
from tests.runs.executors import jobs

LIMIT = 60


@pytest.fixture
def two() -> Iterator[LocalProcesses]:
    made = LocalProcesses(2)
    yield made
    made.close(now=True)


def wait_until_gone(*pids: int) -> None:
    end = time.monotonic() + LIMIT
    while any(map(alive, pids)):
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_worker_is_kept_for_the_next_job() -> None:
    one = LocalProcesses(1)
    found = {one.submit(jobs.where).result(LIMIT)[1] for _ in range(3)}
    one.close()
    assert len(found) == 1
    assert os.getpid() not in found
    wait_until_gone(*found)


def test_two_jobs_run_at_once(two: LocalProcesses, tmp_path: Path) -> None:
    held = [two.submit(jobs.hold, str(tmp_path), name) for name in "ab"]
    pids = {jobs.said(tmp_path, name)[1] for name in "ab"}  # each waits for the other's end
    (tmp_path / "go").touch()
    assert [future.result(LIMIT) for future in held] == ["a", "b"]
    assert len(pids) == 2


def test_a_killed_worker_costs_its_own_job_alone(two: LocalProcesses, tmp_path: Path) -> None:
    held = [two.submit(jobs.hold, str(tmp_path), name) for name in "abcd"]
    _, pid = jobs.said(tmp_path, "a")
    jobs.said(tmp_path, "b")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Lost, match=rf"worker process {pid} ended \(signal 9, Killed"):
        held[0].result(LIMIT)
    (tmp_path / "go").touch()
    assert [future.result(LIMIT) for future in held[1:]] == ["b", "c", "d"]


def test_a_worker_killed_between_two_jobs_costs_nothing() -> None:
    one = LocalProcesses(1)
    _, pid = one.submit(jobs.where).result(LIMIT)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    assert one.submit(jobs.double, 4).result(LIMIT) == 8
    one.close()


def test_a_worker_that_leaves_says_how(two: LocalProcesses) -> None:
    with pytest.raises(Lost, match=r"ended \(exit code 3\): last words"):
        two.submit(jobs.leave, 3).result(LIMIT)


def test_what_cannot_be_sent_is_a_loss_and_the_worker_goes_on(two: LocalProcesses) -> None:
    with pytest.raises(Lost, match="pickle"):
        two.submit(jobs.unsendable).result(LIMIT)
    assert two.submit(jobs.double, 1).result(LIMIT) == 2


def test_threads_are_said_before_torch_is_there() -> None:
    one = LocalProcesses(1, threads=3)
    assert one.submit(jobs.threads).result(LIMIT) == ("3", False)
    one.close()


def test_what_a_job_prints_is_no_answer(two: LocalProcesses) -> None:
    assert two.submit(jobs.chatter).result(LIMIT) == "said"


def test_closing_now_ends_what_runs(tmp_path: Path) -> None:
    two = LocalProcesses(2)
    held = [two.submit(jobs.hold, str(tmp_path), name) for name in "abc"]
    pids = [jobs.said(tmp_path, name)[1] for name in "ab"]
    two.close(now=True)
    wait_until_gone(*pids)
    assert all(isinstance(future.exception(LIMIT), Lost) for future in held[:2])
    assert held[2].cancelled()
    assert not (tmp_path / "c").exists()


# ---------------------------------------------------------------- the program that asks

DRIVER = """\
import sys
from oodbench.runs.executors.local import LocalProcesses
from tests.runs.executors import jobs
two = LocalProcesses(2)
held = [two.submit(jobs.hold, sys.argv[1], name) for name in "abc"]
try:
    print([future.result() for future in held])
except BaseException:
    two.close(now=True)
    raise
two.close()
"""
"""As a user would write it: no guard for the main module."""


def driver(folder: Path, *how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *how, str(folder)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["file", "stdin"])
def test_it_works_from_any_script(tmp_path: Path, how: str) -> None:
    (tmp_path / "script.py").write_text(DRIVER)
    (tmp_path / "go").touch()
    asked = driver(tmp_path, str(tmp_path / "script.py") if how == "file" else "-")
    out, err = asked.communicate(DRIVER if how == "stdin" else None, timeout=LIMIT)
    assert (out, err) == ("['a', 'b', 'c']\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_program(tmp_path: Path, end: signal.Signals) -> None:
    asked = driver(tmp_path, "-c", DRIVER)
    pids = [jobs.said(tmp_path, name)[1] for name in "ab"]
    # from the terminal, Ctrl-C goes to the whole process group
    os.killpg(asked.pid, end) if end == signal.SIGINT else asked.send_signal(end)
    _, err = asked.communicate(timeout=LIMIT)
    wait_until_gone(*pids)
    if end == signal.SIGINT:
        assert err.count("Traceback") == 1, "that of the program alone"
        assert "KeyboardInterrupt" in err
    assert not (tmp_path / "c").exists()


# ---------------------------------------------------------------- GPUs

CARDS = ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("workers", "gpus", "cards", "expected"),
    [
        (2, None, [], [None, None]),
        (2, None, CARDS, ["0", "1"]),
        (5, None, CARDS[:2], ["0", "1", "0", "1", "0"]),
        (8, 0.5, CARDS, ["0", "1", "2", "3", "0", "1", "2", "3"]),
        (3, 1 / 3, CARDS[:1], ["0", "0", "0"]),
        (2, 2, CARDS, ["0,1", "2,3"]),
        (2, 1, ["GPU-a", "GPU-b"], ["GPU-a", "GPU-b"]),
    ],
)
def test_each_worker_sees_its_share(
    workers: int, gpus: float | None, cards: list[str], expected: list[str | None]
) -> None:
    assert shares(workers, gpus, cards) == expected


@pytest.mark.parametrize(
    ("workers", "gpus", "cards", "line"),
    [
        (3, 1, CARDS[:2], "--gpus-per-run 1: 3 workers need 3 GPUs, there are 2 here; --workers 2 at most"),
        (3, 2, CARDS, "--gpus-per-run 2: 3 workers need 6 GPUs, there are 4 here; --workers 2 at most"),
        (5, 0.25, CARDS[:1], "5 workers need 2 GPUs, there are 1 here; --workers 4 at most"),
        (3, 0.4, CARDS[:1], "--workers 2 at most"),
        (1, 1, [], "1 workers need 1 GPUs, there are 0 here; leave it out"),
    ],
)
def test_more_gpus_than_there_are(workers: int, gpus: float, cards: list[str], line: str) -> None:
    with pytest.raises(UserError) as error:
        shares(workers, gpus, cards)
    assert line in str(error.value)


def test_visible_cards_are_named_as_the_user_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-7")
    assert visible_cards() == ["5", "GPU-7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_cards() == ["0", "1"]


def test_workers_are_told_their_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("oodbench.runs.executors.local.visible_cards", lambda: ["4", "6"])
    two = LocalProcesses(2)
    held = [two.submit(jobs.hold, str(tmp_path), name) for name in "ab"]  # so that both are there
    for name in "ab":
        jobs.said(tmp_path, name)
    (tmp_path / "go").touch()
    for future in held:
        future.result(LIMIT)
    for name in "cd":
        (tmp_path / "go").unlink(missing_ok=True)
        held.append(two.submit(jobs.hold, str(tmp_path), name))
    seen = {jobs.said(tmp_path, name)[1] for name in "cd"}
    cards = {
        entry.split("=")[1]
        for pid in seen
        for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")
        if entry.startswith("CUDA_VISIBLE_DEVICES=")
    }
    two.close(now=True)
    assert cards == {"4", "6"}
