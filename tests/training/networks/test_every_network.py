"""Every registered network by contract."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from tests.training.networks.common import make

SHAPES = {"8x8x1": (1, 8, 8), "28x28x1": (1, 28, 28), "32x32x3": (3, 32, 32), "48x40x3": (3, 48, 40)}


TOO_SMALL = {
    "lenet": {"8x8x1"}, "resnet18-224": {"8x8x1", "28x28x1"}, "resnet34-224": {"8x8x1", "28x28x1"},
    "resnet50-224": {"8x8x1", "28x28x1"},
    "torchvision": {"8x8x1", "28x28x1"}, "module": {"8x8x1", "28x28x1"}, "vit-small-32": {"48x40x3"},
    "huggingface": {"8x8x1", "28x28x1", "48x40x3"},
    "clip": {"8x8x1", "28x28x1", "48x40x3"},
}  # fmt: skip


LARGE = {"resnet18-224", "resnet34-224", "resnet50-224", "torchvision"}
"""What a network refuses: small, grey or not square images."""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", list(registry.networks))
def test_every_network_keeps_the_contract(name: str, shape: str) -> None:
    dims = SHAPES[shape]
    if shape == "48x40x3" and name in LARGE:
        pytest.skip("one shape is enough for a network that takes seconds")
    if shape in TOO_SMALL.get(name, ()):
        with pytest.raises(NotApplicable, match=f"network '{name}'"):
            make(name, dims)
        return
    network = make(name, dims)
    x = torch.rand(3, *dims)
    network.eval()
    with torch.no_grad():
        logits, features = network(x), network.features(x)
    assert logits.shape == (3, 4)
    assert features.ndim == 2
    assert torch.equal(logits, network.head(features))
    assert torch.isfinite(logits).all()
    assert not torch.equal(logits[0], logits[1]), "the output depends on the input"
    head = network.linear_head()
    assert head is not None
    torch.testing.assert_close(head(features), logits)

    modules, seen = dict(network.named_modules()), []
    assert network.stages
    hooks = [
        modules[s].register_forward_hook(lambda m, i, o, s=s: seen.append((s, o.shape[0])))
        for s in network.stages
    ]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    assert seen == [(s, 3) for s in network.stages], "stages run once each, in their order"

    network.train()
    for module in network.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0
    nn.functional.cross_entropy(network(x), torch.tensor([0, 1, 2])).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without
    again = make(name, dims)
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(x), network.eval()(x))
    assert all(p.is_contiguous() for p in network.state_dict().values())
