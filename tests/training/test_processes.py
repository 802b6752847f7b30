"""Two processes that train one network together: the gradients, and so the weights, of one that sees the
whole batch. That every method does so: methods/test_together.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oodbench.core.errors import UserError
from oodbench.core.method import Batch
from oodbench.core.network import Network
from oodbench.training.loop import Listener
from oodbench.training.processes import ALONE, Team, assisting, join, together, wanted
from oodbench.training.recipe import Recipe
from tests.training.common import VAL, Plain, fresh, make_samples, recipe_of, run, same, tanh_network
from tests.training.pairs import found_by, save_found, two_processes

HERE = "tests.training.test_processes"
SAME_AS_ALONE: dict[str, dict[str, Any]] = {
    "plain": {}, "short last batch": {"batch_size": 12}, "odd shares": {"batch_size": 13},
    "a last batch too short to share": {"batch_size": 10}, "sam": {"optimizer": "sam", "rho": 0.1},
    "accumulated, clipped, averaged": {"batch_size": 8, "accumulate": 2, "clip": 0.5, "ema": 0.8},
    "accumulated, odd shares": {"batch_size": 7, "accumulate": 3},
    "adamw": {"optimizer": "adamw", "lr": 0.01}, "best on validation": {"select": "best-val", "lr": 0.5},
    "augmented": {"augment": ["flip", "pad-crop", "cutout"]},
    "scaled loss": {"precision": "fp16", "clip": 0.1, "accumulate": 2},
}  # fmt: skip
"""Recipes, of 53 images, whose training does not depend on who computes which sample's features."""

NOISY: dict[str, Any] = {"world_size": 2, "augment": ["flip"], "ema": 0.8, "select": "best-val"}
"""With batch norm of each share, and dropout."""


def exact(name: str) -> Network:
    """In float64, so that what is not rounding shows, where the precision is not what is tried."""
    return tanh_network() if "precision" in SAME_AS_ALONE[name] else tanh_network().double()


class LateAndNever(Plain):
    """A parameter that is used from the second half on, and one that never is. Weight decay shows whether
    they had a gradient."""

    def setup(self, network: Network) -> None:
        network.add_module("late", nn.Linear(3, 3))
        network.add_module("never", nn.Linear(2, 2))

    def loss(self, network: Network, batch: Batch) -> Tensor:
        logits = network(batch.inputs)
        if batch.progress >= 0.5:
            logits = logits + network.get_submodule("late")(logits)
        return self.criterion(logits, batch.labels).mean()


def late(world_size: int) -> Network:
    network = tanh_network()
    LateAndNever().setup(network)
    return run(recipe_of(world_size=world_size, batch_size=8, accumulate=2), network, LateAndNever())[0]


def work(folder: Path) -> None:
    save_found(exchanged, folder)


def exchanged(team: Team) -> dict[str, Any]:
    """Trainings, a resumed one, and values exchanged, with two processes."""
    found: dict[str, Any] = {}
    for name, changes in SAME_AS_ALONE.items():
        network, history = run(recipe_of(world_size=2, **changes), exact(name))
        found[name] = (network.state_dict(), history)

    torch.manual_seed(0)
    found["late"] = late(2).state_dict()

    network = nn.Linear(3, 2)
    nn.init.constant_(network.weight, team.rank)
    counter, count = torch.tensor(5 + team.rank), torch.arange(7).view(7, 1) * torch.tensor([1.0, 10.0])
    team.follow([network.weight, counter])
    found["by hand"] = (
        network.weight.detach().clone(), int(counter), team.agreed(team.rank == 0),
        team.told({"rank": team.rank}), team.whole(team.share(count), 7),
    )  # fmt: skip

    states: list[Any] = []

    def keep(tensors: dict[str, Any], scalars: dict[str, Any]) -> None:
        states.append(
            ({k: v.clone() for k, v in tensors.items()}, {**scalars, "history": [*scalars["history"]]})
        )

    whole, _ = run(recipe_of(**NOISY), fresh(), listener=Listener(save=keep))
    resumed, _ = run(recipe_of(**NOISY), fresh(seed=5 + team.rank), resume=None if team.rank else states[1])
    found["noisy"], found["resumed"] = whole.state_dict(), resumed.state_dict()
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found."""
    return found_by(HERE, tmp_path_factory.mktemp("team"))


@pytest.mark.parametrize("name", SAME_AS_ALONE)
def test_two_processes_train_what_one_would(name: str, both: list[dict[str, Any]]) -> None:
    alone, history = run(recipe_of(**SAME_AS_ALONE[name]), exact(name))
    (first, first_history), (second, second_history) = (found[name] for found in both)
    for key, value in alone.state_dict().items():
        assert torch.equal(first[key], second[key]), "both hold the same weights, bit for bit"
        torch.testing.assert_close(
            first[key], value, rtol=0, atol=1e-11 if value.dtype == torch.float64 else 2e-5
        )
    assert first_history == second_history
    for key in ("loss", "lr", "acted", "val_accuracy"):
        assert [r[key] for r in first_history] == pytest.approx([r[key] for r in history], abs=1e-5), key


def test_a_parameter_that_no_process_used_stays_and_one_used_late_learns(both: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    alone = late(1).state_dict()
    for found in both:
        for key, value in alone.items():
            torch.testing.assert_close(found["late"][key], value, rtol=0, atol=2e-6)
    torch.manual_seed(0)
    start = tanh_network()
    LateAndNever().setup(start)
    assert torch.equal(both[0]["late"]["never.weight"], start.get_parameter("never.weight"))
    assert not torch.equal(both[0]["late"]["late.weight"], start.get_parameter("late.weight"))


def test_values_follow_the_first_and_shares_make_a_whole(both: list[dict[str, Any]]) -> None:
    for weight, counter, agreed, told, whole in (found["by hand"] for found in both):
        assert torch.equal(weight, torch.zeros(2, 3))
        assert (counter, agreed, told) == (5, True, {"rank": 0})
        assert whole.tolist() == [[i, 10 * i] for i in range(7)]


def test_batch_norm_dropout_and_augmentation_stay_in_step_and_resume_bit_for_bit(
    both: list[dict[str, Any]],
) -> None:
    """The second process is not given the state: it need not see the first one's store."""
    first, second = both
    for key, value in first["noisy"].items():
        assert torch.equal(value, second["noisy"][key])
        assert torch.equal(value, first["resumed"][key])
        assert torch.equal(value, second["resumed"][key])


def dies(folder: Path, after: int) -> None:
    """A training of which the first process is killed after so many saved states, if ever; it goes on from a
    state that it finds."""
    torch.set_num_threads(1)
    with together():
        team, _ = join("cpu")
        file, saved = folder / "state.pt", 0

        def keep(*state: Any) -> None:
            nonlocal saved
            if not team.rank:
                torch.save(state, file)
                saved += 1
                if saved == after:
                    os.kill(os.getpid(), signal.SIGKILL)

        resume = torch.load(file) if file.exists() and not team.rank else None
        network, _ = run(recipe_of(**NOISY), fresh(), listener=Listener(save=keep), resume=resume)
        torch.save((network.state_dict(), saved), folder / f"{team.rank}.pt")


def test_a_training_together_that_was_killed_ends_in_the_same_weights(
    both: list[dict[str, Any]], tmp_path: Path
) -> None:
    (first, _), (second, said) = two_processes(HERE, f"dies(Path({str(tmp_path)!r}), 2)")
    assert first == -signal.SIGKILL
    assert second == 1, "the other one ends too, and does not wait"
    assert "RuntimeError" in said
    assert [status for status, _ in two_processes(HERE, f"dies(Path({str(tmp_path)!r}), 9)")] == [0, 0]
    weights, saved = torch.load(tmp_path / "0.pt")
    assert saved == 1, "it went on after the second of four epochs"
    whole = both[0]["noisy"]
    assert set(weights) == set(whole)
    assert all(torch.equal(v, weights[k]) for k, v in whole.items())


def failing() -> None:
    """The second process fails after it joined; the first has done its work."""
    with together():
        team, _ = join("cpu")
        if team.rank:
            raise UserError("the disk is full")


def test_after_an_error_both_leave_and_only_the_one_that_failed_says_so() -> None:
    (first, quiet), (second, errors) = two_processes(HERE, "failing()")
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
    assert [Team(0, 3).divides(n) for n in (5, 6)] == [False, True]


def test_alone_nothing_is_exchanged() -> None:
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    ALONE.follow(list(network.parameters()))
    assert torch.equal(network.weight, before)
    assert ALONE.agreed(False) is False
    assert ALONE.told(network) is network
    assert ALONE.whole(before, 2) is before
    first, _ = run(recipe_of(), tanh_network())
    assert wanted(1) == ALONE
    again, _ = run(recipe_of(), tanh_network(), data=make_samples(), val=VAL)
    assert same(first, again)


def test_a_recipe_for_several_processes_says_how_to_start_them() -> None:
    with pytest.raises(
        UserError,
        match=r"world_size 4 needs 4 processes, here is 1; start them by `torchrun --nproc-per-node 4",
    ):
        run(recipe_of(world_size=4))
    with pytest.raises(ValueError, match="at least 2 for each of 4 processes, got 7"):
        Recipe(world_size=4, batch_size=7)


ENVIRONMENTS: dict[str, tuple[dict[str, str], str]] = {
    "alone in it": ({"WORLD_SIZE": "4"}, "WORLD_SIZE is 4.*with RANK and LOCAL_RANK and MASTER_"),
    "no address": ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, "with MASTER_ADDR and MASTER_PORT"),
    "no number": ({"WORLD_SIZE": "two"}, "WORLD_SIZE: 'two' in the environment should be a whole number"),
    "negative": ({"WORLD_SIZE": "-2"}, "WORLD_SIZE: '-2' in the environment"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_that_torchrun_did_not_make_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, says = ENVIRONMENTS[name]
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(UserError, match=says) as raised:
        join("cpu")
    assert "\n" not in str(raised.value)


def test_more_processes_than_gpus_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for key in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.setenv(key, "4" if key == "WORLD_SIZE" else "3")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(UserError, match=r"4 processes or more on this host, which has 2 GPUs.*per-node 2"):
        join("cuda")


def test_an_environment_of_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join("cpu") == (ALONE, "cpu")
    assert not assisting()


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
    import pandas as pd

    from oodbench.runs.runner import run as oodbench_run  # not at the top: the pairs need none of it
    from oodbench.suite.load import load_suite

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


PARTS = """
import os

import oodbench
from torch.nn.functional import cross_entropy


@oodbench.method("parts", source="a test")
class Parts(oodbench.Method):
    "Cross-entropy whose second process runs out of memory."

    def criterion(self, logits, labels):
        if os.environ.get("RANK") == "1":
            raise MemoryError("no memory left")
        return cross_entropy(logits, labels, reduction="none")
"""


def test_a_process_that_fails_by_itself_ends_all_and_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(PARTS)
    suite = SUITE.replace("cross-entropy: {}", "parts: {}") + "plugins: [parts.py]\n"
    (tmp_path / "team.yaml").write_text(suite)
    start = "-m torch.distributed.run --standalone --nproc-per-node 2 -m oodbench run team.yaml --device cpu"
    done = subprocess.run(
        [sys.executable, *start.split()], cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "process 1 of 2 that train together failed: MemoryError: no memory left" in done.stderr
    assert not (tmp_path / "runs" / "team" / "results.csv").exists()
