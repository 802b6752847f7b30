"""Two processes that train one network together: the gradients, and so the weights, of one that sees the
whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from oodbench.core.errors import UserError
from oodbench.runs.runner import run as oodbench_run
from oodbench.suite.load import load_suite
from oodbench.training.loop import Listener
from oodbench.training.processes import ALONE, Team, join, together, wanted
from oodbench.training.recipe import Recipe
from tests.conftest import ROOT
from tests.training.common import fresh, make_samples, recipe_of, run, same, tanh_network

SAME_AS_ALONE: dict[str, dict[str, Any]] = {
    "plain": {}, "short last batch": {"batch_size": 12}, "sam": {"optimizer": "sam", "rho": 0.1},
    "accumulated, clipped, averaged": {"batch_size": 8, "accumulate": 2, "clip": 0.5, "ema": 0.8},
    "adamw": {"optimizer": "adamw", "lr": 0.01},
}  # fmt: skip
"""Recipes whose training does not depend on who sees which sample."""


def work(folder: Path) -> None:
    """What each of the processes does between joining and leaving; saved for the test to look at."""
    with together():
        torch.save(exchanged(), folder / f"{os.environ['RANK']}.pt")
    assert not torch.distributed.is_initialized()


def exchanged() -> dict[str, Any]:
    """Trainings, a resumed one, and gradients, with two processes."""
    team, _ = join("cpu")
    torch.set_num_threads(1)
    assert team.size == 2
    found: dict[str, Any] = {}
    for name, changes in SAME_AS_ALONE.items():
        network, history = run(recipe_of(world_size=2, **changes), tanh_network())
        found[name] = (network.state_dict(), history)

    network = nn.Linear(3, 2)
    nn.init.constant_(network.weight, team.rank)
    team.follow(list(network.parameters()))
    if team.rank == 0:  # a gradient that one of them lacks
        network.bias.grad = torch.ones(2)
    network.weight.grad = torch.full((2, 3), 1.0 + team.rank)
    team.add_gradients(network)
    found["by hand"] = (
        network.weight.detach().clone(),
        network.weight.grad,
        network.bias.grad,
        team.agreed(team.rank == 0),
    )

    states: list[Any] = []

    def keep(tensors: dict[str, Any], scalars: dict[str, Any]) -> None:
        states.append(
            ({k: v.clone() for k, v in tensors.items()}, {**scalars, "history": [*scalars["history"]]})
        )

    noisy = recipe_of(world_size=2, augment=["flip"])
    whole, _ = run(noisy, fresh(), listener=Listener(save=keep))
    resumed, _ = run(noisy, fresh(seed=5 + team.rank), resume=states[1])
    found["noisy"], found["resumed"] = whole.state_dict(), resumed.state_dict()
    return found


def failing() -> None:
    """The second process fails after it joined; the first has done its work."""
    with together():
        team, _ = join("cpu")
        if team.rank:
            raise UserError("the disk is full")


def two_processes(call: str) -> list[tuple[int, str]]:
    """Exit status and error output of two processes that call a function of this module, started with the
    environment that torchrun gives them."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    common = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    code = f"from tests.training import test_processes; test_processes.{call}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=common | {"RANK": str(i), "LOCAL_RANK": str(i)}, cwd=ROOT,
            stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=240)[1] for process in started]
    return [(process.returncode, told) for process, told in zip(started, errors, strict=True)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found."""
    folder = tmp_path_factory.mktemp("team")
    for status, errors in two_processes(f"work(test_processes.Path({str(folder)!r}))"):
        assert status == 0, errors
    return [torch.load(folder / f"{i}.pt") for i in range(2)]


@pytest.mark.parametrize("name", SAME_AS_ALONE)
def test_two_processes_train_what_one_would(name: str, both: list[dict[str, Any]]) -> None:
    alone, history = run(recipe_of(**SAME_AS_ALONE[name]), tanh_network())
    (first, first_history), (second, second_history) = (found[name] for found in both)
    for key, value in alone.state_dict().items():
        assert torch.equal(first[key], second[key]), "both hold the same weights, bit for bit"
        torch.testing.assert_close(first[key], value, rtol=0, atol=2e-6)
    assert first_history == second_history
    assert [r["loss"] for r in first_history] == pytest.approx([r["loss"] for r in history], abs=1e-5)


def test_gradients_are_added_and_weights_follow_the_first(both: list[dict[str, Any]]) -> None:
    for weight, gradient, lacked, agreed in (found["by hand"] for found in both):
        assert torch.equal(weight, torch.zeros(2, 3))
        assert torch.equal(gradient, torch.full((2, 3), 3.0))
        assert torch.equal(lacked, torch.ones(2))
        assert agreed is True


def test_batch_norm_dropout_and_augmentation_stay_in_step_and_resume_bit_for_bit(
    both: list[dict[str, Any]],
) -> None:
    first, second = both
    for key, value in first["noisy"].items():
        assert torch.equal(value, second["noisy"][key])
        assert torch.equal(value, first["resumed"][key])
        assert torch.equal(value, second["resumed"][key])


def test_after_an_error_both_leave_and_only_the_one_that_failed_says_so() -> None:
    (first, quiet), (second, errors) = two_processes("failing()")
    assert first == 0, quiet
    assert second == 1
    assert "UserError: the disk is full" in errors
    assert "terminate" not in errors


def test_shares_are_a_partition() -> None:
    index = torch.randperm(13)
    shares = [Team(rank, 3).share(index) for rank in range(3)]
    assert sorted(torch.cat(shares).tolist()) == list(range(13))
    assert max(map(len, shares)) - min(map(len, shares)) == 1
    assert torch.equal(ALONE.share(index), index)


def test_alone_nothing_is_exchanged() -> None:
    network = nn.Linear(2, 2)
    ALONE.add_gradients(network)
    ALONE.follow(list(network.parameters()))
    assert network.weight.grad is None
    assert ALONE.agreed(False) is False
    first, _ = run(recipe_of(), tanh_network())
    assert wanted(1) == ALONE
    again, _ = run(recipe_of(), tanh_network(), data=make_samples())
    assert same(first, again)


def test_a_recipe_for_several_processes_says_how_to_start_them() -> None:
    with pytest.raises(
        UserError,
        match=r"world_size 4 needs 4 processes, here is 1; start them by `torchrun --nproc-per-node 4",
    ):
        run(recipe_of(world_size=4))
    with pytest.raises(ValueError, match="at least 2 for each of 4 processes, got 7"):
        Recipe(world_size=4, batch_size=7)


SUITE = """\
name: team
pairs: [digits]
networks: [{mlp: {hidden: [16]}}]
methods:
  - {cross-entropy: {}, recipe: {world_size: 2}}
  - {label-smoothing: {}, recipe: {epochs: 1}}
scorers: [msp]
recipe: {epochs: 2, batch_size: 128, lr: 0.05}
"""


def test_torchrun_runs_a_suite_whose_recipe_asks_for_it(tmp_path: Path) -> None:
    """Both processes train the first method, one alone the second; one writes the results, which a run
    without torchrun finds stored."""
    (tmp_path / "team.yaml").write_text(SUITE)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "oodbench",
    ]
    command += ["run", "team.yaml", "--results", "results", "--device", "cpu"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "results" / "team" / "results.csv")
    assert set(table.status) == {"ok"}
    assert set(table.method) == {"cross-entropy", "label-smoothing"}
    again = load_suite(tmp_path / "team.yaml")
    plain = oodbench_run(
        again, results=tmp_path / "results", device="cpu"
    )  # stored weights need no second process
    assert plain.made["weights"] == 0
    (tmp_path / "new.yaml").write_text(
        SUITE.replace("name: team", "name: new").replace("epochs: 2", "epochs: 3")
    )
    failed = oodbench_run(load_suite(tmp_path / "new.yaml"), results=tmp_path / "results", device="cpu")
    reasons = set(failed.rows[failed.rows.status == "failed"].reason)
    assert len(reasons) == 1
    assert "torchrun --nproc-per-node 2" in reasons.pop()
