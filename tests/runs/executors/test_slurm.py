"""Slurm as an engine: submitit's own executor of this machine, and its real one on a stand-in for Slurm's
commands."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.runs.executors import slurm
from oodbench.runs.executors.contract import Lost
from oodbench.runs.executors.slurm import Slurm
from tests.runs.executors import fake_slurm, jobs
from tests.runs.executors.test_local import wait_until_gone

pytest.importorskip("submitit")
LIMIT = 60


def _engine(folder: Path, text: str) -> Slurm:
    (folder / "slurm.yaml").write_text(text)
    return Slurm(folder / "slurm.yaml", 1, None, folder / "logs")


@pytest.fixture
def faked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stand-in for Slurm."""
    fake_slurm.install(tmp_path, monkeypatch)
    monkeypatch.setattr(slurm, "_ASK", 1)
    monkeypatch.setattr(slurm, "_LOOK", 0.1)
    return tmp_path


ON_SLURM = "timeout_min: 30\nslurm_partition: gpu\ngpus_per_node: 1\nslurm_array_parallelism: 2\n"


def test_a_job_that_is_killed_is_lost_alone(tmp_path: Path) -> None:
    engine = _engine(tmp_path, "cluster: local\n")
    held = [engine.submit(jobs.hold, str(tmp_path), name) for name in "ab"]
    _, pid = jobs.said(tmp_path, "a")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Lost, match=r"job \d+ ended without an answer \(finished\); its log: .*_log\.err"):
        held[0].result(LIMIT)
    (tmp_path / "go").touch()
    assert held[1].result(LIMIT) == "b"
    engine.close()
    assert list((tmp_path / "logs").rglob("*_log.err")), "the log of what was lost is kept"


def test_nothing_is_left_of_jobs_that_went_well(tmp_path: Path) -> None:
    engine = _engine(tmp_path, "cluster: local\n")
    assert engine.submit(jobs.threads).result(LIMIT) == ("1", False)
    engine.close()
    assert not list((tmp_path / "logs").iterdir())


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match='Could not detect "srun"'):
        _engine(tmp_path, ON_SLURM)


def test_logs_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(UserError, match=r"logs/.*cannot be written"):
        _engine(tmp_path, "cluster: local\n")


def test_jobs_given_together_are_one_array(faked: Path) -> None:
    engine = _engine(faked, ON_SLURM)
    given = [engine.submit(jobs.double, x) for x in range(3)]
    assert [future.result(LIMIT) for future in given] == [0, 2, 4]
    engine.close()
    (script,) = faked.glob("script-*")
    lines = set(script.read_text().splitlines())
    assert {
        "#SBATCH --array=0-2%2", "#SBATCH --time=30", "#SBATCH --partition=gpu", "#SBATCH --gpus-per-node=1",
        "#SBATCH --cpus-per-task=1",
    } <= lines  # fmt: skip


def test_what_sbatch_refuses_ends_the_command(faked: Path) -> None:
    engine = _engine(faked, ON_SLURM)
    (faked / "refuse").touch()
    with pytest.raises(UserError, match="Slurm takes no job: sbatch: error: invalid partition"):
        engine.submit(jobs.double, 1).result(LIMIT)
    engine.close(now=True)


def test_a_job_that_slurm_ends_is_lost(faked: Path) -> None:
    engine = _engine(faked, ON_SLURM)
    held = [engine.submit(jobs.hold, str(faked), name) for name in "ab"]
    _, pid = jobs.said(faked, "a")
    jobs.said(faked, "b")
    (faked / "state-1_0").write_text("NODE_FAIL")
    with pytest.raises(Lost, match=r"job 1_0 ended without an answer \(node_fail\)"):
        held[0].result(LIMIT)
    wait_until_gone(pid)  # it is cancelled: a node that comes back should not go on
    (faked / "go").touch()
    assert held[1].result(LIMIT) == "b"
    engine.close()


def test_a_job_that_makes_room_is_waited_for_and_then_lost(
    faked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_GONE", 2.0)
    engine = _engine(faked, ON_SLURM)
    held = engine.submit(jobs.hold, str(faked), "a")
    jobs.said(faked, "a")
    (faked / "state-1").write_text("PREEMPTED")
    with pytest.raises(Lost, match=r"\(preempted\)"):
        held.result(LIMIT)
    engine.close()


def test_closing_now_cancels_what_slurm_has(faked: Path) -> None:
    engine = _engine(faked, ON_SLURM)
    for name in "ab":
        engine.submit(jobs.hold, str(faked), name)
    pids = [jobs.said(faked, name)[1] for name in "ab"]
    engine.close(now=True)
    wait_until_gone(*pids)
    assert sorted((faked / "cancelled").read_text().split()) == ["1_0", "1_1"]


def test_a_machine_that_refuses_is_left_out(faked: Path) -> None:
    engine = _engine(faked, ON_SLURM + "slurm_exclude: old1\n")
    assert engine.avoid("node7") is True
    assert engine.submit(jobs.double, 1).result(LIMIT) == 2
    engine.close()
    assert "#SBATCH --exclude=old1,node7" in (faked / "script-1").read_text()
