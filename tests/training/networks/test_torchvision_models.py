"""torchvision's models, and the weights that they come with."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.errors import UserError
from tests.training.networks.common import make, task_of


def test_pretrained_weights_get_a_new_head_and_are_fed_what_the_task_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torchvision

    torch.manual_seed(1)
    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", lambda self, *a, **k: state)
    spec = {"torchvision": {"model": "resnet18", "weights": "IMAGENET1K_V1"}}
    network = registry.build("network", spec, task_of((3, 64, 64)))
    assert network.mean.flatten().tolist() == pytest.approx([0.4] * 3), "who makes the task knows (input_of)"
    assert torch.equal(network.state_dict()["body.conv1.weight"], state["conv1.weight"])
    assert network.head.weight.shape == (4, 512)
    full = registry.build("network", spec, task_of((3, 64, 64), classes=1000))
    assert torch.equal(full.head.weight, state["fc.weight"])


def test_weights_that_cannot_be_fetched_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    def offline(self: Any, *a: Any, **k: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(UserError, match=r"could not be fetched from https://.*no route to host"):
        make("torchvision", (3, 64, 64), model="resnet18", weights="IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"model": "resnet19"}, "unknown model 'resnet19'; did you mean 'resnet1"),
        ({"model": "resnet18", "weights": "BEST"}, "no weights 'BEST'; there: IMAGENET1K_V1"),
        ({"model": "squeezenet1_0"}, "'classifier.1' is a convolution, and more than pooling comes after it"),
    ],
)
def test_what_cannot_be_had_says_why_in_one_line(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as found:
        registry.build("network", {"torchvision": spec}, task_of((3, 64, 64)))
    assert "\n" not in str(found.value)
