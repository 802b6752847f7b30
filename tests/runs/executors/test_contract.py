"""What every engine of this machine keeps: the same tests for each."""

from __future__ import annotations

import concurrent.futures as futures
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oodbench.runs.executors.contract import Executor, Lost
from oodbench.runs.executors.local import LocalProcesses
from oodbench.runs.executors.serial import Here
from oodbench.runs.executors.slurm import Slurm
from tests.runs.executors import jobs


def _local(_: Path) -> Executor:
    return LocalProcesses(2)


def _submitit(folder: Path) -> Executor:
    pytest.importorskip("submitit")
    file = folder / "slurm.yaml"
    file.write_text("cluster: local\n")
    return Slurm(file, 1, None, folder / "logs")


@pytest.fixture(params=[lambda _: Here(), _local, _submitit], ids=["here", "local", "submitit"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    make: Callable[[Path], Executor] = request.param
    made = make(tmp_path)
    yield made
    made.close(now=True)


def test_an_engine_does_jobs(engine: Executor) -> None:
    given = [engine.submit(jobs.double, x) for x in range(3)]
    assert all(isinstance(future, futures.Future) for future in given)
    assert [future.result(timeout=60) for future in given] == [0, 2, 4]
    assert engine.name
    assert engine.capacity is None or engine.capacity >= 1
    assert engine.avoid("this") is False, "there is no other machine"
    engine.close()


def test_what_a_function_raises_comes_out_of_its_future(engine: Executor) -> None:
    with pytest.raises((Lost, ValueError), match="so it is"):
        engine.submit(jobs.fail, "so it is").result(timeout=60)


def test_a_loss_can_be_sent_on() -> None:
    assert str(pickle.loads(pickle.dumps(Lost("the worker is gone")))) == "the worker is gone"
