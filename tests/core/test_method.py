"""A method's default loss is the mean of its criterion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task


class _Squares(Method):
    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.gather(1, labels[:, None]).squeeze(1) - 1) ** 2


def test_the_loss_is_the_mean_criterion() -> None:
    network = Network(Task("image", (1, 2, 2), 3, (0.0,), (1.0,)), nn.Flatten(), nn.Linear(4, 3))
    batch = Batch(torch.rand(6, 1, 2, 2), torch.arange(6) % 3)
    logits = network(batch.inputs)
    by_hand = sum((logits[i, i % 3] - 1) ** 2 for i in range(6)) / 6
    torch.testing.assert_close(_Squares().loss(network, batch), by_hand)
