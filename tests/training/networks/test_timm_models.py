"""timm's models, and the weights that they come with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.training.own_input import input_of
from tests.training.networks.common import make, task_of


def test_timm_that_is_not_installed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="needs the package timm, which is not installed"):
        registry.build("network", {"timm": {"model": "resnet18"}}, task_of((3, 32, 32)))


def test_weights_of_a_file_get_a_head_for_the_classes(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(5)
    state = timm.create_model("resnet18").state_dict()
    save_file(state, tmp_path / "w.safetensors")
    file = {"file": str(tmp_path / "w.safetensors"), "mean": [0.1, 0.2, 0.3]}
    spec = {"model": "resnet18", "pretrained": True, "options": {"pretrained_cfg_overlay": file}}
    network = make("timm", (3, 32, 32), **spec)
    assert network.head.weight.shape == (4, 512)
    assert torch.equal(network.state_dict()["body.conv1.weight"], state["conv1.weight"])
    assert network.mean.flatten().tolist() == pytest.approx([0.4] * 3), "who makes the task knows (input_of)"
    said = input_of({"timm": spec})
    assert said is not None
    assert said.mean == (0.1, 0.2, 0.3)


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


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"model": "resnet19"}, "unknown model 'resnet19'; did you mean"),
        ({"model": "resnet18", "options": {"in_chans": 1}}, "options.in_chans is not for options"),
        ({"model": "resnet18", "options": {"colour": 1}}, "cannot be made"),
        ({"model": "local-dir:none", "pretrained": True}, "'timm' .local-dir:none.: .*none"),
    ],
)
def test_what_cannot_be_had_says_why_in_one_line(spec: dict[str, Any], message: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=message) as caught:
        make("timm", (3, 64, 64), **spec)
    assert str(caught.value).isprintable()
    if "colour" not in str(spec):  # which does not change what it is fed
        with pytest.raises(UserError, match=message):
            input_of({"timm": {"pretrained": True, **spec}})


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"model": "resnet18.nope"}, "(resnet18.nope): what its weights were trained on cannot be told"),
        ({"model": "resnet18", "options": {"pretrained_cfg": {"mean": 3}}}, "cannot be told"),
        ({"model": "resnet18", "options": {"img_size": "x"}}, "cannot be told"),
        ({"model": "local-dir:nowhere"}, "nowhere has no config.json"),
    ],
)
def test_what_weights_were_trained_on_cannot_be_told(spec: dict[str, Any], says: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError) as caught:
        input_of({"timm": {"pretrained": True} | spec})
    assert says in str(caught.value)
    assert str(caught.value).startswith("network 'timm'")
