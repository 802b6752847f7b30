"""This process as an engine."""

from __future__ import annotations

import os

import pytest

from oodbench.runs.executors.serial import Here
from tests.runs.executors import jobs


def test_a_job_is_done_here_and_at_once() -> None:
    future = Here().submit(jobs.where)
    assert future.done()
    assert future.result()[1] == os.getpid()


def test_an_interruption_ends_everything() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Here().submit(interrupted)
