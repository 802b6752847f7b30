"""Networks that train on a CPU in seconds, against torch's own layers and a count by hand."""

from __future__ import annotations

import torch
from torch import nn

from oodbench.core import registry
from tests.training.networks.common import make, parameters, task_of


def test_the_perceptron_is_a_stack_of_layers() -> None:
    network = make("mlp", (1, 4, 5), classes=3, hidden=[7, 6])
    plain = nn.Sequential(
        nn.Flatten(), nn.Linear(20, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)
    )
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        assert mine.shape == theirs.shape
        theirs.data.copy_(mine.data)
    x = torch.rand(5, 1, 4, 5)
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain((x - 0.4) / 0.3))
        torch.testing.assert_close(network.features(x), plain[:5]((x - 0.4) / 0.3))
    assert network.stages == ("body.2", "body.4")


def test_a_perceptron_without_hidden_layers_is_linear() -> None:
    network = registry.build("network", {"mlp": {"hidden": []}}, task_of((1, 4, 5), 3))
    assert network.stages == ()
    assert parameters(network) == 21 * 3
    assert network.features(torch.rand(2, 1, 4, 5)).shape == (2, 20)


def test_the_small_network_halves_its_maps_twice_and_doubles_its_width() -> None:
    """Hand count: 3x3 convolutions without bias, scale and shift of each batch norm, the head."""
    w = 6
    network = make("small-cnn", (3, 11, 9), classes=4, width=w)
    convolutions = 9 * (3 * w + w * 2 * w + 2 * w * 4 * w)
    assert parameters(network) == convolutions + 2 * (w + 2 * w + 4 * w) + (4 * w + 1) * 4
    sizes: list[tuple[int, ...]] = []
    modules = dict(network.named_modules())
    for stage in network.stages:
        modules[stage].register_forward_hook(lambda m, i, o: sizes.append(tuple(o.shape[1:])))
    network.eval()(torch.rand(2, 3, 11, 9))
    assert sizes == [(w, 11, 9), (2 * w, 6, 5), (4 * w, 3, 3)]
