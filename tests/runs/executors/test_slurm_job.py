"""What runs in a job of Slurm's."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runs.executors import jobs

CODE = """\
import pickle, sys
from oodbench.runs.executors.slurm_job import work
sys.stdout.buffer.write(pickle.dumps(work("tests.runs.executors.jobs", sys.argv[1], tuple(sys.argv[2:]))))
"""


def _started(*args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CODE, *args], cwd=ROOT, stdout=subprocess.PIPE)


def test_a_function_is_called_and_what_it_raises_is_told() -> None:
    assert pickle.loads(_started("double", "ab").communicate(timeout=60)[0]) == (True, "abab")
    assert pickle.loads(_started("fail", "no").communicate(timeout=60)[0]) == (False, "ValueError: no")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_slurms_signal_is_answered_in_the_middle_of_a_job(tmp_path: Path) -> None:
    """The job catches every error; this is none."""
    process = _started("catch_all", str(tmp_path), "a")
    _, pid = jobs.said(tmp_path, "a")
    os.kill(pid, signal.SIGUSR2)
    ok, reason = pickle.loads(process.communicate(timeout=60)[0])
    assert not ok
    assert reason == "Slurm ended the job: its time was over, or another one came first"
