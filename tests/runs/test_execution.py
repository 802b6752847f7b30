"""Who may carry out a plan: what cannot be is said in one line, before any work."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from oodbench.core.errors import UserError
from oodbench.data.sources.roots import cpus, settings
from oodbench.runs import jobs
from oodbench.runs.execution import Execution
from oodbench.runs.executors.serial import Here
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from tests.runs.suites import SMALL

TOO_MANY = cpus() + 1
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"workers": 1, "ray": "local"}, "--workers and --ray: one of them at most"),
    ({"ray": "auto", "slurm": Path("x.yaml")}, "--ray and --slurm: one of them at most"),
    ({"workers": 0}, "--workers: 0 should be an integer, from 1 to"),
    ({"workers": -3}, "--workers: -3 should be"),
    ({"workers": TOO_MANY}, f"--workers: {TOO_MANY} should be an integer, from 1 to {cpus()}, the CPUs"),
    ({"workers": True}, "--workers: True should be"),
    ({"workers": "2"}, "--workers: '2' should be"),
    ({"threads": 0}, "--threads: 0 should be an integer, at least 1"),
    ({"gpus_per_run": 0.5}, "--gpus-per-run: needs --workers, --ray or --slurm"),
    ({"ray": "local", "gpus_per_run": 0.0}, "--gpus-per-run: 0.0 should be a share"),
    ({"ray": "local", "gpus_per_run": 1.5}, "--gpus-per-run: 1.5 should be a share"),
    ({"ray": "local", "gpus_per_run": float("nan")}, "--gpus-per-run: nan should be a share"),
]


@pytest.mark.parametrize(("values", "line"), WRONG)
def test_what_cannot_be_is_one_line(values: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        Execution(**values)
    assert line in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_threads_are_the_cpus_shared_among_workers() -> None:
    assert Execution(workers=1).threads_per_run == cpus()
    assert Execution(threads=7).threads_per_run == 7
    assert Execution(ray="local").threads_per_run == 1
    with settings(cpus=1):
        assert Execution(workers=1).threads_per_run == 1
        with pytest.raises(UserError, match="from 1 to 1"):
            Execution(workers=2)


def test_processes_of_torchrun_do_not_go_with_workers() -> None:
    plan = make_plan(parse_suite(SMALL | {"recipe": SMALL["recipe"] | {"world_size": 2}}))
    with pytest.raises(UserError, match=r"'cross-entropy': recipe: world_size 2 trains in processes"):
        Execution(workers=1).check(plan)
    Execution().check(plan)


@pytest.mark.parametrize("refusing", ["all", "one"])
def test_where_every_run_is_refused_nothing_is_written(
    refusing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as a cluster with another version of the package: no table of failed rows over a good one."""
    suite = parse_suite(SMALL | {"seeds": [0, 1]})
    ours = jobs.code()
    theirs = itertools.chain([ours], ["another"] * (1 if refusing == "one" else 9), itertools.repeat(ours))
    monkeypatch.setattr(Execution, "_executor", lambda self, logs: Here())
    monkeypatch.setattr(jobs, "code", lambda: next(theirs))
    options: dict[str, Any] = {
        "results": tmp_path,
        "device": "cpu",
        "plots": False,
        "how": Execution(workers=1),
    }
    if refusing == "one":
        assert set(run(suite, **options).rows["status"]) == {"ok", "failed"}
        return
    with pytest.raises(UserError, match=r"^no machine would carry out any run: .*the package there is not"):
        run(suite, **options)
    assert capsys.readouterr().err.count("the package there is not") == 1, "said once, not for each run"
    assert not list((tmp_path / "small").iterdir()), "an empty folder at most"
