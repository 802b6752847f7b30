"""Features and head of what others wrote, against the module's own logits."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oodbench.core.errors import UserError
from oodbench.core.network import Task
from oodbench.training.splitting import for_classes, split
from tests.training.networks.common import Nested, make, task_of


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Named(nn.Linear):
    """A linear layer under another name, as timm has."""


class Averaged(nn.Module):
    """Two heads on features of their own, as a distilled transformer has."""

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 4), nn.Linear(6, 4)
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)[:, :12]
        return self.one(x[:, :6]) * self.share + self.two(x[:, 6:]) * (1 - self.share)


class Tokens(nn.Module):
    """A head on every token, averaged afterwards; it may be bent."""

    def __init__(self, bend: nn.Module) -> None:
        super().__init__()
        self.head, self.bend = nn.Linear(16, 4), bend

    def forward(self, x: Tensor) -> Tensor:
        return self.bend(self.head(x.mean(1))).mean(1)


def conv_head(*after: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *after)


POOL = (nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("module", "width"),
    [
        (conv_head(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.Flatten()), 8),
        (conv_head(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1, bias=False), nn.Flatten()), 8),
        (conv_head(nn.Conv2d(8, 4, 1), *POOL), 8),
        (conv_head(*POOL, nn.Dropout(0.5), Named(8, 4)), 8),
        (conv_head(*POOL, nn.BatchNorm1d(8), nn.Linear(8, 4)), 8),
        (Averaged(), 12),
        (Tokens(nn.Identity()), 16),
    ],
    ids=["pooled", "no-bias", "pooled-later", "derived", "norm-before", "averaged", "tokens"],
)
def test_heads_of_all_kinds_give_the_modules_own_logits(module: nn.Module, width: int) -> None:
    torch.manual_seed(3)
    for p in module.parameters():
        nn.init.normal_(p)
    own = copy.deepcopy(module).eval()
    network = split(task_of((3, 16, 16)), module, "'mine'").eval()
    x = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        expected = own((x - 0.4) / 0.3)
        features = network.features(x)
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)
    assert features.shape == (5, width)
    head = network.linear_head()
    assert head is not None
    torch.testing.assert_close(head(features), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.LogSoftmax(1)), "not that of a linear layer"),
        (nn.Conv2d(3, 4, 3), "not that of a linear layer"),
        (nn.Sequential(nn.Flatten(), Doubled(768, 4)), "'1' is more than a linear layer"),
        (nn.Sequential(nn.Linear(16, 4)), r"does not give that layer's inputs \(N, D\)"),
        (
            conv_head(nn.Conv2d(8, 4, 1), nn.ReLU(), *POOL),
            "'2' is a convolution, and more than pooling comes",
        ),
        (Averaged(0.3), "not that of a linear layer"),
        (Tokens(nn.ReLU()), "not that of a linear layer"),
        (
            nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(768, 4))),
            "'1' is more than a linear layer",
        ),
    ],
)
def test_a_module_whose_logits_are_no_linear_layers_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        split(task_of((3, 16, 16)), module, "'mine'")
    assert str(caught.value).isprintable()


def test_a_relu_that_happens_to_do_nothing_is_noticed() -> None:
    """SqueezeNet's shape: on these images no class is below zero anywhere."""
    module = conv_head(nn.Conv2d(8, 3, 1), nn.ReLU(), *POOL)
    nn.init.constant_(module[2].bias, 50.0)  # type: ignore[index]
    with pytest.raises(UserError, match="such as a ReLU"):
        split(task_of((3, 16, 16), 3), module, "'mine'")


class Output(dict):  # type: ignore[type-arg]
    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits=logits)
        self.logits = logits


class Wrapping(nn.Module):
    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.layer, self.wrap = nn.Linear(768, 4), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.layer(x.flatten(1)))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (Output, "returns a Output, not logits; for a model of transformers use network `huggingface`, or"),
        (lambda y: (y, y), "returns a tuple, not logits; return the logits"),
        (lambda y: y @ torch.ones(4, 4), r"put the text embeddings into an nn.Linear\(bias=False\)"),
    ],
)
def test_what_to_do_is_said(wrap: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(task_of((3, 16, 16)), Wrapping(wrap), "'mine'")


def test_features_and_head_of_any_module_are_found() -> None:
    torch.manual_seed(0)
    original = Nested()
    x = torch.rand(2, 3, 16, 16)
    expected = original.eval()((x - 0.4) / 0.3).detach()
    network = split(task_of((3, 16, 16)), original.train(), "'mine'")
    assert network.body.training, "the mode is left as it was"
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), expected)
    assert network.features(x).shape == (2, 5)
    assert network.stages == ("body.stem", "body.trunk")
    assert set(dict(network.head.named_parameters())) == {"weight", "bias"}


def test_a_head_of_a_derived_class_becomes_a_plain_one() -> None:
    network = split(task_of((3, 16, 16)), nn.Sequential(nn.Flatten(), Named(768, 4)), "'mine'")
    assert type(network.head) is nn.Linear
    assert sum(p.numel() for p in network.parameters()) == 769 * 4
    assert for_classes(network, 9).head.weight.shape == (9, 768)


@pytest.mark.parametrize(
    ("model", "width"),
    [
        ("resnetv2_50x1_bit", 2048), ("deit_tiny_distilled_patch16_224", 2 * 192), ("levit_128s", 2 * 384),
        ("levit_conv_128s", 2 * 384),
    ],
)  # fmt: skip
def test_timms_heads_of_other_kinds(model: str, width: int) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    own = timm.create_model(model, num_classes=7)
    for name, p in own.named_parameters():
        if "head" in name:
            nn.init.normal_(p, std=0.1)
    own.eval()
    network = split(Task("image", (3, 224, 224), 7, (0.0,) * 3, (1.0,) * 3), copy.deepcopy(own), model).eval()
    x = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(network(x), own(x), rtol=1e-5, atol=1e-5)
        assert network.features(x).shape == (2, width)
    assert network.linear_head() is not None


@pytest.mark.parametrize(
    ("ours", "theirs", "size"),
    [
        ("resnet18", "resnet18", 64), ("swin_t", "swin_tiny_patch4_window7_224", 224),
        ("convnext_tiny", "convnext_tiny", 64), ("efficientnet_b0", "efficientnet_b0", 64),
        ("regnet_y_400mf", "regnety_004", 64),
    ],
)  # fmt: skip
def test_one_architecture_has_as_many_stages_in_either_library(ours: str, theirs: str, size: int) -> None:
    pytest.importorskip("timm")
    one = make("torchvision", (3, size, size), model=ours)
    other = make("timm", (3, size, size), model=theirs)
    assert len(one.stages) == len(other.stages) >= 4


def test_a_vision_transformers_stages_are_its_blocks() -> None:
    """And in timm the patches, which torchvision has as one layer."""
    pytest.importorskip("timm")
    timms = make("timm", (3, 224, 224), model="vit_tiny_patch16_224").stages
    assert timms == ("body.patch_embed", *(f"body.blocks.{i}" for i in range(12)))
    assert len(make("torchvision", (3, 224, 224), model="vit_b_16").stages) == 12
