"""The contracts of networks, methods and augmentations find what is broken. That registered components keep
them is tested over the registry, in tests/whole/test_contracts.py."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from oodbench.core import method as core_method
from oodbench.core import network as core_network
from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task
from oodbench.training import recipe
from oodbench.training.contract import of_augmentation, of_method, of_network

# ---------------------------------------------------------------- methods


def told_of_method(loss: Callable[[Network, Batch], Tensor], setup: Any = None, **more: Any) -> str:
    attributes = more | {
        "__doc__": "Broken.",
        "loss": lambda self, network, batch: loss(network, batch),
        "setup": lambda self, network: setup(network) if setup else None,
    }
    with registry.isolated():
        registry.method("broken", source="this test")(type("Broken", (Method,), attributes))
        return " / ".join(of_method(registry.resolve("method", "broken")))


def plain(network: Network, batch: Batch) -> Tensor:
    return cross_entropy(network(batch.inputs), batch.labels)


def two_rows(network: Network) -> None:
    network.heads["short"] = nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (2, -1)))


@pytest.mark.parametrize(
    ("loss", "complaint"),
    [
        (lambda n, b: cross_entropy(n(b.inputs), b.labels, reduction="none"), "a scalar is due"),
        (lambda n, b: 0.5, "a scalar is due"),
        (lambda n, b: plain(n, b) / 0, "not finite on an ordinary batch"),
        (
            lambda n, b: cross_entropy(n.head(n.features(b.inputs).detach()), b.labels),
            "no finite gradient reaches body",
        ),
        (lambda n, b: plain(n, b) + torch.rand((), generator=noise), "other losses with the same seed"),
        (lambda n, b: 2 * plain(n, b).detach() - plain(n, b), "do not lower the loss"),
        (lambda n, b: n(b.inputs).mean() * 0, "do not lower the loss"),
        (lambda n, b: plain(n, b) / (len(b.inputs) - 1), "not finite on a batch of one"),
    ],
)
def test_a_broken_method_is_found_out(loss: Callable[[Network, Batch], Any], complaint: str) -> None:
    assert complaint in told_of_method(loss)


@pytest.mark.parametrize("acted", [None, 0.5, "no", torch.ones(2)], ids=str)
def test_whether_its_term_acted_is_yes_or_no(acted: Any) -> None:
    assert "a bool or a tensor without dimensions is due" in told_of_method(plain, acted=acted)
    assert told_of_method(plain, acted=torch.tensor(False)) == ""


noise = torch.Generator().manual_seed(0)
"""Randomness that nobody seeds again."""


def test_a_sound_method_is_left_alone_and_a_head_must_give_one_row_for_each_sample() -> None:
    assert told_of_method(plain) == ""
    assert "head 'short' does not give one row for each sample" in told_of_method(plain, two_rows)


# ---------------------------------------------------------------- networks


class Body(nn.Module):
    """Flattened pixels through one layer, with room for a fault."""

    def __init__(self, shape: tuple[int, ...], fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.layer = nn.Linear(int(torch.tensor(shape).prod()), 6)
        self.unused = nn.Linear(2, 2) if fault == "unused" else None
        self.hidden = [torch.rand(6)]

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.layer(x.flatten(1)))
        if self.fault == "noise":
            return out + torch.rand_like(out)
        if self.fault == "hidden":
            return out + self.hidden[0]
        return out.view(-1, 2, 3) if self.fault == "shape" else out


def told_of_network(fault: str) -> str:
    def broken(task: Task) -> Network:
        """Broken."""
        if fault == "refuses":
            raise NotApplicable("nothing suits it")
        classes = 7 if fault == "classes" else task.classes
        head: nn.Module = nn.Linear(6, classes)
        stages = ["body.nothing"] if fault == "stage" else ["body.layer"]
        network = Network(task, Body(task.shape, fault), head, stages)
        if fault == "head":
            network.forward = lambda x: network.head(network.features(x)) + 1  # type: ignore[method-assign]
        return network

    with registry.isolated():
        registry.network("broken", source="this test")(broken)
        return " / ".join(of_network(registry.resolve("network", "broken")))


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("classes", "logits have the shape (4, 7)"),
        ("head", "logits are not head(features)"),
        ("stage", "names a stage 'body.nothing' that is no submodule"),
        ("noise", "other logits the second time"),
        ("hidden", "does not come back from its state dict"),
        ("unused", "no gradient reaches body.unused.weight"),
    ],
)
def test_a_broken_network_is_found_out(fault: str, complaint: str) -> None:
    assert complaint in told_of_network(fault)


def test_a_sound_network_is_left_alone_and_so_is_one_that_suits_no_shape() -> None:
    assert told_of_network("") == ""
    assert told_of_network("refuses") == ""


# ---------------------------------------------------------------- augmentations


@pytest.mark.parametrize(
    ("augment", "complaint"),
    [
        (lambda x, rng: x[:, :, 1:], "returns"),
        (lambda x, rng: x.double(), "returns"),
        (lambda x, rng: x + 1, "leaves [0, 1]"),
        (lambda x, rng: x.mul_(0.5), "changes its inputs"),
        (lambda x, rng: (x + torch.rand_like(x)) / 2, "differs with the same generator"),
        (lambda x, rng: x * torch.rand((), generator=rng), ""),
    ],
)
def test_a_broken_augmentation_is_found_out(augment: Callable[..., Tensor], complaint: str) -> None:
    def broken() -> Callable[..., Tensor]:
        """Broken."""
        return augment

    registry.augmentation("broken", source="this test")(broken)
    told = " / ".join(of_augmentation(registry.resolve("augmentation", "broken")))
    assert complaint in told if complaint else not told


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize("module", [core_method, core_network, recipe], ids=lambda m: m.__name__)
def test_the_examples_of_what_a_user_builds_on_are_true(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
