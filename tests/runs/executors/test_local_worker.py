"""The process at the other end, asked byte by byte."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.runs.executors import jobs

START = "from oodbench.runs.executors.local_worker import main; main()"


def _worker() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", START], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _message(thing: object) -> bytes:
    text = pickle.dumps(thing)
    return struct.pack("<Q", len(text)) + text


def test_jobs_are_answered_in_turn_and_the_end_of_the_input_ends_it() -> None:
    asked = _message((jobs.double, (3,))) + _message((jobs.fail, ("no",))) + _message((jobs.double, (5,)))
    worker = _worker()
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(asked)
    worker.stdin.flush()
    found = [pickle.load(worker.stdout) for _ in range(3)]
    assert found == [(True, 6), (False, "ValueError: no"), (True, 10)]
    worker.stdin.close()
    assert worker.wait(30) == 0


def test_a_job_that_cannot_be_read_is_answered() -> None:
    worker = _worker()
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(struct.pack("<Q", 4) + b"nope")
    worker.stdin.flush()
    ok, reason = pickle.load(worker.stdout)
    assert not ok
    assert "UnpicklingError" in reason
    worker.stdin.close()
    worker.wait(30)


def test_it_ends_in_the_middle_of_a_job_when_nobody_asks_any_more(tmp_path: Path) -> None:
    worker = _worker()
    assert worker.stdin is not None
    worker.stdin.write(_message((jobs.hold, (str(tmp_path), "a"))))
    worker.stdin.flush()
    jobs.said(tmp_path, "a")
    worker.stdin.close()
    assert worker.wait(30) == 1
