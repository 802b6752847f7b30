"""A body shared out over two processes is the body of one: its features, gradients, batch norm and draws."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.data.samples import TensorSamples
from oodbench.training import reader
from oodbench.training.processes import Team
from oodbench.training.reader import Reader
from oodbench.training.sharing import shared
from tests.training.common import GEOMETRY, TASK, fresh, make_samples, tanh_network
from tests.training.pairs import found_by, save_found

NORMS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "2d": (nn.BatchNorm2d(3), (3, 4, 5)),
    "1d": (nn.BatchNorm1d(3), (3,)),
    "3d, the mean of all batches": (nn.BatchNorm3d(3, momentum=None), (3, 2, 2, 2)),
    "no weight": (nn.BatchNorm2d(3, affine=False, momentum=0.3), (3, 4, 5)),
    "no statistics": (nn.BatchNorm2d(3, track_running_stats=False), (3, 4, 5)),
}
"""Batch norms with the shape of a sample."""
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def normalising(norm: nn.Module, shape: Sequence[int], device: str = "cpu") -> Network:
    norm = copy.deepcopy(norm)
    torch.manual_seed(3)
    if getattr(norm, "weight", None) is not None:
        nn.init.normal_(norm.weight)  # type: ignore[arg-type]
        nn.init.normal_(norm.bias)  # type: ignore[arg-type]
    size = int(torch.tensor(shape).prod())
    return Network(TASK, nn.Sequential(norm, nn.Flatten()), nn.Linear(size, 3)).double().to(device)


def passed(network: Network, shape: Sequence[int], count: int = 7) -> dict[str, Tensor]:
    """Three passes in training and one in evaluation: features, gradients of inputs and weights, buffers."""
    rng, device = torch.Generator().manual_seed(0), next(network.parameters()).device
    found: dict[str, Tensor] = {}
    for number in range(4):
        network.train(number < 3)
        x = torch.randn(count, *shape, generator=rng, dtype=torch.float64).mul(2).add(5).to(device)
        x.requires_grad_()
        weight = torch.randn(count, 3, generator=rng, dtype=torch.float64).to(device)
        logits = network.head(network.body(x))
        learning = list(network.body.parameters())
        gradients = torch.autograd.grad((logits.sin() * weight).sum(), [x, *learning])
        found |= {f"{number} gradient {i}": g for i, g in enumerate(gradients)} | {f"{number}": logits}
        found |= {f"{number} {k}": v.clone() for k, v in network.named_buffers()}
    return {k: v.detach().cpu() for k, v in found.items()}


def work(folder: Path) -> None:
    save_found(found_together, folder)


def found_together(team: Team) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (norm, shape) in NORMS.items():
        for device in DEVICES:
            network = normalising(norm, shape, device)
            with shared(network, team, synchronise=True):
                found[f"{name} on {device}"] = passed(network, shape)
    network = normalising(*NORMS["2d"])
    with shared(network, team, synchronise=True):
        found["few"] = passed(network, NORMS["2d"][1], count=3)

    network, x = fresh().train(), make_samples(12).images.float() / 255  # dropout, and batch norm of shares
    torch.manual_seed(1)
    with shared(network, team):
        features = [network.features(x).detach() for _ in range(2)]
    found["dropout"] = torch.stack(features), torch.rand(3), network.body[1].running_mean  # type: ignore[index,union-attr]
    plain = tanh_network()
    torch.manual_seed(1)
    with shared(plain, team), torch.no_grad():
        plain.features(x)
    found["no dropout"] = torch.rand(3)
    found["read"] = read(team)
    return found


class Counted(TensorSamples):
    """Counts the images that are read of it."""

    count = 0

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        self.count += len(indices)
        return super().read(indices, geometry)


def read(team: Team, n: int = 36) -> tuple[list[tuple[Tensor, Tensor]], Tensor, int]:
    """Batches of 11 of a set that is not held, some of its images drawn, and how many this process read."""
    made = make_samples(n)
    samples = Counted(made.images, made.labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "HELD_BYTES", 0)
        source = Reader(samples, GEOMETRY, "cpu", team)
        samples.count = 0
        order = torch.randperm(n, generator=torch.Generator().manual_seed(4))
        batches = list(source.batches(order, 11))
        return batches, source.sample(9, torch.Generator().manual_seed(2)), samples.count


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return found_by("tests.training.test_sharing", tmp_path_factory.mktemp("sharing"))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NORMS)
def test_synchronised_batch_norm_is_torchs_of_the_whole_batch(
    name: str, device: str, both: list[dict[str, Any]]
) -> None:
    """Gradients of inputs are those of the loss; those of weights each process has for its rows, times two:
    their mean is the loss's."""
    norm, shape = NORMS[name]
    alone = passed(normalising(norm, shape), shape)
    first, second = (found[f"{name} on {device}"] for found in both)
    assert set(first) == set(alone)
    for key, value in alone.items():
        ours = (0.5 * (first[key] + second[key])).to(value.dtype)
        torch.testing.assert_close(ours, value, rtol=1e-9, atol=1e-9)
        if " gradient " not in key or key.endswith(" gradient 0"):
            assert torch.equal(first[key], second[key]), key


def test_of_rows_too_few_to_share_every_process_computes_all(both: list[dict[str, Any]]) -> None:
    norm, shape = NORMS["2d"]
    alone = passed(normalising(norm, shape), shape, count=3)
    for found in both:
        for key, value in alone.items():
            torch.testing.assert_close(found["few"][key], value, rtol=0, atol=1e-12)


def test_each_process_drops_for_itself_and_all_draw_alike_afterwards(both: list[dict[str, Any]]) -> None:
    (features, drawn, first), (others, drawn_there, second) = (found["dropout"] for found in both)
    assert torch.equal(features, others)
    assert torch.equal(drawn, drawn_there)
    assert not torch.equal(first, second), "without synchronising, batch norm has the statistics of a share"
    dropped = features == 0
    assert not torch.equal(dropped[0], dropped[1]), "a second pass draws anew"
    assert not torch.equal(dropped[0, 0::2], dropped[0, 1::2]), "and so do the processes"


def test_a_body_that_draws_nothing_leaves_the_global_generator(both: list[dict[str, Any]]) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    assert all(torch.equal(found["no dropout"], expected) for found in both)


def test_each_image_is_read_by_one_process_and_seen_by_both(both: list[dict[str, Any]]) -> None:
    batches, drawn, count = read(Team())
    assert count == 36 + 9
    assert [len(labels) for _, labels in batches] == [11, 11, 11, 3]
    for found in both:
        theirs, also_drawn, _ = found["read"]
        assert torch.equal(drawn, also_drawn)
        for (x, y), (u, v) in zip(batches, theirs, strict=True):
            assert torch.equal(x, u)
            assert torch.equal(y, v)
    # the last batch, of three, both read
    assert [found["read"][2] for found in both] == [3 * 6 + 3 + 5, 3 * 5 + 3 + 4]


def test_a_batch_norm_of_another_library_is_named() -> None:
    class WithActivation(nn.BatchNorm2d):
        pass

    network = normalising(WithActivation(3), (3, 4, 5))
    with (
        pytest.raises(UserError, match=r"sync_batchnorm knows torch's batch norm.*has WithActivation; leave"),
        shared(network, Team(0, 2), synchronise=True),
    ):
        raise AssertionError("not reached")


def test_afterwards_the_body_runs_as_before() -> None:
    network = tanh_network()
    with shared(network, Team(0, 2)):
        assert "forward" in network.body.__dict__
    assert "forward" not in network.body.__dict__
    network.body.forward = other = lambda x: x  # type: ignore[method-assign]
    with shared(network, Team(0, 2)):
        assert network.body.forward is not other
    assert network.body.forward is other
