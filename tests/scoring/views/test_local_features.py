"""The view of patches: the best of all of them, for networks that tell them apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.network import Network, Task
from oodbench.training.contract import toy_network

TASK = Task("image", (3, 4, 4), 5, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


class Patches(nn.Module):
    """Each pixel is a patch."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(3, 7)

    def local(self, x: Tensor) -> Tensor:
        return self.lift(x.flatten(2).transpose(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.local(x).mean(dim=1)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_patch_that_is_surest(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oodbench.scoring.views.local_features._ROWS", 7)
    torch.manual_seed(0)
    network = Network(TASK, Patches(), nn.Linear(7, 5)).eval()
    images = torch.rand(6, 3, 4, 4)
    view = registry.build("view", {"local-features": {"temperature": temperature}})
    assert view.objection(network) == ""
    found = view(network, images, torch.Generator())["local-features.mcm"]
    mean, std = (torch.tensor(v).view(3, 1) for v in (TASK.mean, TASK.std))
    with torch.no_grad():
        for i, image in enumerate(images):
            best = 0.0
            for pixel in ((image.flatten(1) - mean) / std).T:
                patch = network.body.lift(pixel)
                cosines = torch.stack(
                    [torch.cosine_similarity(patch, row, dim=0) for row in network.head.weight]
                )
                best = max(best, float(torch.softmax(cosines.double() / temperature, dim=0).max()))
            assert -torch.expm1(found[i]).item() == pytest.approx(best, abs=1e-6)


def test_networks_without_patches_are_told() -> None:
    view = registry.build("view", "local-features")
    assert "no features of single patches" in view.objection(toy_network())
    assert "no linear head" in view.objection(Network(TASK, Patches(), nn.Sequential(nn.Linear(7, 5))))
