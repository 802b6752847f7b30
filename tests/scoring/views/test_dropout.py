"""Dropout at test time: switched on and off again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oodbench import build
from oodbench.core.network import Network, Task
from oodbench.core.outputs import Outputs
from oodbench.data.contract import toy_images
from tests.scoring.seen import rng


class _Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(self.layer(x.flatten(1))).relu())


def test_dropout_layers_are_switched_on_and_off_again() -> None:
    torch.manual_seed(0)
    network = Network(Task("image", (1, 8, 8), 3, (0.0,), (1.0,)), _Dropping(), nn.Linear(16, 3)).eval()
    x, running = torch.rand(4, 1, 8, 8), network.body.norm.running_mean.clone()  # type: ignore[union-attr, operator]
    state = torch.random.get_rng_state()
    extras = build("view", {"mc-dropout": {"passes": 400}})(network, x, rng())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(m.training for m in network.modules())
    assert torch.equal(running, network.body.norm.running_mean)  # type: ignore[union-attr]
    plain = network.body.norm(network.body.layer(x.flatten(1))).relu()  # type: ignore[union-attr, operator]
    masks = (torch.rand(20000, 1, 16, generator=rng(1)) > 0.5) * 2.0
    expected = torch.softmax(network.head(plain * masks), dim=2).mean(dim=0)
    torch.testing.assert_close(extras["mc-dropout.probabilities"].float(), expected, rtol=0, atol=0.06)
    again = build("view", {"mc-dropout": {"passes": 400}})(network, x, rng())
    assert torch.equal(extras["mc-dropout.entropy"], again["mc-dropout.entropy"])


def test_features_are_dropped_where_the_network_has_no_dropout(network: Network) -> None:
    x = toy_images(6).images
    extras = build("view", {"mc-dropout": {"passes": 3, "p": 0.25}})(network, x, rng(5))
    again, p, entropy = rng(5), 0.0, 0.0
    for _ in range(3):
        features = network.features(x)
        kept = torch.rand(features.shape, generator=again) >= 0.25
        one = torch.softmax(network.head(features * kept / 0.75).double(), dim=1)
        p, entropy = p + one / 3, entropy - (one * one.log()).sum(dim=1) / 3
    torch.testing.assert_close(extras["mc-dropout.probabilities"], p)
    torch.testing.assert_close(extras["mc-dropout.entropy"], entropy)
    outputs = Outputs(torch.zeros(6, 4), extras={k: v.float() for k, v in extras.items()})
    total = -(p * p.log()).sum(dim=1)
    for statistic, expected in [
        ("mean", (1 - p.amax(dim=1)).log()),
        ("entropy", total),
        ("mutual-information", total - entropy),
    ]:
        found = build("scorer", {"mc-dropout": {"statistic": statistic}}).score(outputs)
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-5)
