"""The same bytes from every engine: a suite with a start, an ensemble and a tuned scorer, carried out by
this process, by two local ones, by submitit and by two nodes of Ray, and with workers, nodes and the program
itself killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from oodbench.runs.execution import Execution
from oodbench.runs.runner import Results
from tests.conftest import ROOT
from tests.runs import mixed
from tests.runs.executors import jobs
from tests.runs.executors.alone import alone
from tests.runs.executors.test_local import wait_until_gone
from tests.runs.suites import run_file


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixed.write(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def serial(suite: Path) -> Results:
    return run_file(suite, suite.parent / "serial", how=Execution(threads=1))


@pytest.fixture(scope="module")
def expected(serial: Results) -> bytes:
    assert serial.failed == 0
    assert serial.made["choices"] > 0, "something is tuned"
    return (serial.folder / "results.csv").read_bytes()


def test_two_local_processes_one_of_which_is_killed(
    suite: Path, serial: Results, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHED", str(tmp_path))
    (tmp_path / "die").touch()
    done = run_file(suite, tmp_path, how=Execution(workers=2, threads=1))
    assert not (tmp_path / "die").exists(), "a worker was killed"
    assert mixed.rows(tmp_path) == expected
    assert done.failed == 0
    assert done.made == serial.made, "nothing is made twice"


def test_submitit(suite: Path, expected: bytes, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    (tmp_path / "slurm.yaml").write_text("cluster: local\n")
    run_file(suite, tmp_path, how=Execution(slurm=tmp_path / "slurm.yaml", threads=1))
    assert mixed.rows(tmp_path) == expected


def test_the_program_is_killed_and_the_same_command_goes_on(
    suite: Path, serial: Results, expected: bytes, tmp_path: Path
) -> None:
    (tmp_path / "hold").touch()
    command = [sys.executable, "-m", "oodbench", "run", str(suite), "--workers", "2", "--threads", "1"]
    command += ["--results", str(tmp_path), "--device", "cpu", "--no-plots", "--quiet"]
    environment = os.environ | {"WATCHED": str(tmp_path)}
    driver = subprocess.Popen(command, cwd=ROOT, env=environment)
    _, worker = jobs.said(tmp_path, os.uname().nodename)
    driver.kill()
    driver.wait()
    wait_until_gone(worker)
    (tmp_path / "hold").unlink()
    assert not (tmp_path / "mixed" / "results.csv").exists()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=120)
    assert mixed.rows(tmp_path) == expected


def test_two_nodes_of_ray(suite: Path, serial: Results, expected: bytes, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = alone("tests.runs.ray_fleet", tmp_path / "home", suite, tmp_path, seconds=280)
    found = json.loads(done.stdout.splitlines()[-1])
    assert mixed.rows(tmp_path / "one") == expected
    assert "other" in found["avoided"], "it has another version of the plugin"
    assert found["other version"]["failed"] == 0
    assert mixed.rows(tmp_path / "two") == expected
    assert found["held on"] in ("first", "second")
    assert found["node killed"]["failed"] == 0
