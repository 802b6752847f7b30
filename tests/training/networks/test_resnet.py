"""ResNets: torchvision's, or torchvision's but for the stem."""

from __future__ import annotations

import pytest
import torch

from oodbench.core import registry
from tests.training.networks.common import make, parameters, task_of


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_small_resnets_are_torchvisions_but_for_the_stem(name: str) -> None:
    import torchvision

    with torch.device("meta"):
        network = registry.build("network", f"{name}-32", task_of((3, 32, 32), 10))
        other = torchvision.models.get_model(name, num_classes=10)
    assert parameters(network) == parameters(other) - 64 * 3 * (7 * 7 - 3 * 3)
    assert network.head.in_features == other.fc.in_features


def test_large_resnets_are_torchvisions() -> None:
    import torchvision

    network = make("resnet18-224", (3, 64, 64), classes=7)
    other = torchvision.models.resnet18(num_classes=7)
    other.load_state_dict(
        {k.removeprefix("body.").replace("head.", "fc."): v for k, v in network.state_dict().items()}
    )
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), other.eval()((x - 0.4) / 0.3))


def test_resnet18_32_keeps_the_numbers_it_had() -> None:
    """Seeded weights that stored artefacts were made with."""
    network = make("resnet18-32", (3, 32, 32), width=8)
    with torch.no_grad():
        logits = network.eval()(torch.linspace(0, 1, 3 * 32 * 32).view(1, 3, 32, 32))
    torch.testing.assert_close(logits[0], torch.tensor(GOLDEN), atol=1e-4, rtol=0)


GOLDEN = [0.076544, 0.079442, -0.059151, 0.110329]
