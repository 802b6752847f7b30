"""The network: normalisation inside, a linear head that can be read."""

from __future__ import annotations

import torch
from torch import nn

from oodbench.core.network import Network, Task

TASK = Task("image", (3, 2, 2), 4, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))


def test_normalisation_lies_inside_and_logits_are_the_heads_of_the_features() -> None:
    network = Network(TASK, nn.Flatten(), nn.Linear(12, 4))
    x = torch.rand(5, 3, 2, 2)
    expected = torch.stack([(x[:, c] - TASK.mean[c]) / TASK.std[c] for c in range(3)], dim=1).flatten(1)
    torch.testing.assert_close(network.features(x), expected)
    torch.testing.assert_close(network(x), network.head(expected))


def test_the_statistics_are_no_weights() -> None:
    network = Network(TASK, nn.Flatten(), nn.Linear(12, 4))
    assert sorted(network.state_dict()) == ["head.bias", "head.weight"]


def test_a_linear_head_is_handed_out_and_no_other() -> None:
    head = nn.Linear(12, 4, bias=False)
    found = Network(TASK, nn.Flatten(), head).linear_head()
    assert found is not None
    features = torch.rand(5, 12)
    torch.testing.assert_close(found(features), head(features))
    assert not found.weight.requires_grad
    assert Network(TASK, nn.Flatten(), nn.Sequential(head, nn.ReLU())).linear_head() is None
