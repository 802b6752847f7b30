"""What the rotation head says of each quarter turn, image by image."""

from __future__ import annotations

import torch
from torch import nn

from oodbench.core import registry
from oodbench.core.network import Network, Task

TASK = Task("image", (1, 4, 4), 3, (0.0,), (1.0,))


def test_each_turn_of_each_image_has_its_logits() -> None:
    torch.manual_seed(0)
    network = Network(TASK, nn.Flatten(), nn.Linear(16, 3))
    view = registry.build("view", "rotations")
    assert "no head 'rotation'" in view.objection(network)
    network.heads["rotation"] = nn.Linear(16, 4)
    assert view.objection(network) == ""
    x = torch.rand(5, 1, 4, 4)
    found = view(network, x, torch.Generator())["rotations.logits"]
    assert tuple(found.shape) == (5, 4, 4)
    for i in range(5):
        image = x[i, 0]
        for turns in range(4):
            expected = network.heads["rotation"](image.flatten())
            torch.testing.assert_close(found[i, turns], expected)
            image = torch.stack([image[:, 3 - row] for row in range(4)])  # one quarter, anticlockwise
