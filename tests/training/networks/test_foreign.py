"""Modules of others, split into features and head."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.errors import SpecError, UserError
from oodbench.training.networks.foreign import split
from tests.training.networks.common import Nested, make, parameters, task_of


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Named(nn.Linear):
    """A linear layer under another name, as timm has."""


def test_a_head_of_a_derived_class_becomes_a_plain_one() -> None:
    network = split(task_of((3, 16, 16)), nn.Sequential(nn.Flatten(), Named(768, 4)), "'mine'")
    assert type(network.head) is nn.Linear
    assert network.linear_head() is not None
    assert sum(p.numel() for p in network.parameters()) == 769 * 4


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


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.LogSoftmax(1)), "not that of a linear layer"),
        (nn.Conv2d(3, 4, 3), "not that of a linear layer"),
        (nn.Sequential(nn.Flatten(), Doubled(768, 4)), "'1' is more than a linear layer"),
        (nn.Sequential(nn.Linear(16, 4)), r"does not give that layer's inputs \(N, D\)"),
    ],
)
def test_a_module_whose_logits_are_no_linear_layers_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(task_of((3, 16, 16)), module, "'mine'")


def test_a_users_module_by_import_or_file(tmp_path: Path) -> None:
    layers = "nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, task.classes)"
    code = f"import torch.nn as nn\ndef tiny(task, width=3):\n    return nn.Sequential({layers})\n"
    (tmp_path / "nets.py").write_text(code)
    network = registry.resolve(
        "network", {"module": {"target": "nets.py:tiny", "options": {"width": 7}}}, folder=tmp_path
    )
    built = registry.build("network", network, task_of((1, 8, 8)))
    assert built.features(torch.rand(2, 1, 8, 8)).shape == (2, 7)
    assert "nets.py:tiny" in network.label
    assert network.plain["module"]["target"] == f"{tmp_path / 'nets.py'}:tiny"
    by_import = make(
        "module", (3, 32, 32), target="torchvision.models:mobilenet_v3_small", options={"num_classes": 4}
    )
    assert by_import.features(torch.rand(2, 3, 32, 32)).shape == (2, 1024)

    # identity: what the file holds, not where it lies or what else is beside it
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "renamed.py").write_text(code)
    moved = registry.resolve(
        "network", {"module": {"target": "renamed.py:tiny", "options": {"width": 7}}}, folder=other
    )
    assert moved.identity == network.identity
    (tmp_path / "nets.py").write_text(code + "# changed\n")
    changed = registry.resolve(
        "network", {"module": {"target": "nets.py:tiny", "options": {"width": 7}}}, folder=tmp_path
    )
    assert changed.identity != network.identity
    assert str(tmp_path) not in str(network.identity)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("resnet", "should be 'pkg.mod:name' or 'file.py:name', got 'resnet'"),
        ("no.such.package:net", "cannot import 'no.such.package'"),
        ("torchvision.models:resnet19", "has no function or class 'resnet19'"),
        ("missing.py:net", "no such file"),
        ("broken.py:net", r"cannot run .*broken.py \(ZeroDivisionError"),
    ],
)
def test_a_module_that_cannot_be_found_is_one_clear_line(target: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(SpecError, match=message) as found:
        registry.resolve("network", {"module": {"target": target}}, folder=tmp_path)
    assert "\n" not in str(found.value)


def test_a_users_module_of_the_wrong_kind_or_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = types.ModuleType("mine")
    mine.number = lambda: 3  # type: ignore[attr-defined]
    mine.wide = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 9))  # type: ignore[attr-defined]
    mine.broken = lambda: 1 / 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", mine)
    for name, message in (
        ("number", "got int"),
        ("wide", "gives 9 logits for 4 classes"),
        ("broken", "ZeroDivisionError"),
    ):
        with pytest.raises(UserError, match=message):
            make("module", (1, 8, 8), target=f"mine:{name}")


def test_pretrained_torchvision_weights_bring_their_normalisation_and_a_new_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torchvision

    torch.manual_seed(1)
    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", lambda self, *a, **k: state)
    spec = {"torchvision": {"model": "resnet18", "weights": "IMAGENET1K_V1"}}
    network = registry.build("network", spec, task_of((3, 64, 64)))
    assert network.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert network.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
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


def test_timm_that_is_not_installed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="needs the package timm, which is not installed"):
        registry.build("network", {"timm": {"model": "resnet18"}}, task_of((3, 32, 32)))


def test_pretrained_timm_weights_bring_their_normalisation_and_a_head_for_the_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without timm: what is asked of it, and what is made of its answer."""
    asked: dict[str, Any] = {}

    def create_model(model: str, **options: Any) -> nn.Module:
        asked.update(options, model=model)
        head = nn.Linear(6, options["num_classes"])
        made = nn.Sequential(
            nn.Conv2d(options["in_chans"], 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
        )
        made.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}  # type: ignore[assignment]
        return made

    fake = types.SimpleNamespace(is_model=lambda name: True, create_model=create_model)
    monkeypatch.setitem(sys.modules, "timm", fake)  # type: ignore[arg-type]
    network = make("timm", (3, 32, 32), model="some_net", pretrained=True, options={"drop_rate": 0.1})
    assert asked == {
        "model": "some_net",
        "pretrained": True,
        "num_classes": 4,
        "in_chans": 3,
        "drop_rate": 0.1,
    }
    assert network.mean.flatten().tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert network.std.flatten().tolist() == pytest.approx([0.2, 0.2, 0.1])
    assert network.head.weight.shape == (4, 6)
    plain = make("timm", (3, 32, 32), model="some_net")
    assert asked["pretrained"] is False
    assert plain.mean.flatten().tolist() != pytest.approx([0.5, 0.4, 0.3])


@pytest.mark.parametrize(
    "model",
    [
        "resnet18",
        "vit_tiny_patch16_224",
        "convnext_atto",
        "mobilenetv3_small_050",
        "mixer_s32_224",
        "regnetx_002",
    ],
)
def test_timms_families_split(model: str) -> None:
    pytest.importorskip("timm")
    size = 224 if model.endswith("224") else 64
    network = make("timm", (3, size, size), model=model)
    with torch.no_grad():
        x = torch.rand(2, 3, size, size)
        assert torch.equal(network.eval()(x), network.head(network.features(x)))


def test_the_vision_transformer_has_the_size_of_vit_small() -> None:
    """Counted by hand: per block attention 4 d^2 + 4 d, perceptron 8 d^2 + 5 d, two norms 4 d; tokens,
    places, last norm, head."""
    d = 384
    with torch.device("meta"):
        network = registry.build("network", "vit-small-32", task_of((3, 32, 32), 10))
    block = (4 * d * d + 4 * d) + (8 * d * d + 5 * d) + 4 * d
    assert parameters(network) == 12 * block + (48 * d + d) + d + 65 * d + 2 * d + (10 * d + 10)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"vit-small-32": {"heads": 5}}, "multiple of heads=5"),
        ({"vit-small-32": {"patch": 5}}, "multiple of patch=5"),
        ({"torchvision": {"model": "resnet19"}}, "unknown model 'resnet19'; did you mean 'resnet1"),
        (
            {"torchvision": {"model": "resnet18", "weights": "BEST"}},
            "no weights 'BEST'; there: IMAGENET1K_V1",
        ),
        ({"torchvision": {"model": "squeezenet1_0"}}, "not that of a linear layer"),
    ],
)
def test_what_cannot_be_had_says_why_in_one_line(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as found:
        registry.build("network", spec, task_of((3, 64, 64)))
    assert "\n" not in str(found.value)
