"""Image classifiers of transformers, from a local folder, against the library itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.network import Input
from oodbench.training.own_input import CannotBeFed, input_of
from tests.training.networks.common import task_of
from tests.training.networks.huggingface_models import saved


def test_logits_and_weights_are_the_librarys(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit")
    transformers = pytest.importorskip("transformers")
    network = registry.build("network", {"huggingface": {"model": str(folder)}}, task_of((3, 32, 32))).eval()
    own = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(x), own((x - 0.4) / 0.3).logits)
    assert network.features(x).shape == (3, 24)
    head = network.linear_head()
    assert head is not None
    assert torch.equal(head.weight, own.classifier.weight)
    assert len(network.stages) == 3
    other = registry.build("network", {"huggingface": {"model": str(folder)}}, task_of((3, 32, 32), 9))
    assert other.head.weight.shape == (9, 24)
    name = "vit.layernorm.weight"
    assert torch.equal(other.state_dict()[f"body.{name}"], own.state_dict()[name])


def test_a_folder_is_looked_for_beside_the_suite_and_is_no_identity(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        saved(tmp_path / place / "vit")
    specs = [
        registry.resolve("network", {"huggingface": {"model": "vit"}}, folder=tmp_path / p)
        for p in ("one", "two")
    ]
    assert specs[0].identity == specs[1].identity, "what the weights hold tells"
    assert specs[0].params["model"] == tmp_path / "one" / "vit"
    named = registry.resolve("network", {"huggingface": {"model": "owner/vit"}}, folder=tmp_path)
    assert named.params["model"] == "owner/vit"


def test_it_says_what_it_was_trained_on(tmp_path: Path) -> None:
    spec = {"huggingface": {"model": str(saved(tmp_path / "vit"))}}
    assert input_of(spec) == Input((0.5,) * 3, (0.5,) * 3, None, (32, 32), "bilinear", True, "floored")


def test_bad_folders_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(folder: str, message: str, fed: str = "") -> None:
        spec = {"huggingface": {"model": folder}}
        with pytest.raises(UserError, match=message) as one:
            registry.build("network", spec, task_of((3, 32, 32)))
        with pytest.raises(UserError, match=fed or message) as other:
            input_of(spec)
        assert str(one.value).isprintable()
        assert str(other.value).isprintable()

    whole = saved(tmp_path / "vit")
    refused(str(tmp_path / "none"), r"network 'huggingface' \(none\): no such folder: ")
    (tmp_path / "empty").mkdir()
    refused(str(tmp_path / "empty"), "has no config.json; save a model there by save_pretrained")
    bare = saved(tmp_path / "bare", processor=False)
    spec = {"huggingface": {"model": str(bare)}}
    with pytest.raises(
        CannotBeFed, match=r"has no preprocessor_config\.json, so what it was trained on is not known"
    ):
        input_of(spec)
    registry.build("network", spec, task_of((3, 32, 32)))
    (whole / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no weights"):
        registry.build("network", {"huggingface": {"model": str(whole)}}, task_of((3, 32, 32)))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "text" / "model.safetensors").write_bytes(b"")
    refused(str(tmp_path / "text"), "cannot be made", "no preprocessor_config.json")
    for file in ("config.json", "preprocessor_config.json"):
        (tmp_path / "text" / file).write_text("{")
    refused(str(tmp_path / "text"), "cannot be made", "its image processor cannot be read")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OODBENCH_OFFLINE", "1")
    refused(
        "owner/no-such-model",
        r"\(owner/no-such-model\): 'owner/no-such-model' could not be had .*HF_HUB_OFFLINE",
    )


def test_classes_are_the_pairs(tmp_path: Path) -> None:
    saved(tmp_path / "vit")
    spec = {"huggingface": {"model": str(tmp_path / "vit"), "options": {"num_labels": 7}}}
    with pytest.raises(UserError, match=r"options\.num_labels is not for options"):
        registry.build("network", spec, task_of((3, 32, 32)))


def test_loading_draws_no_bars_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = pytest.importorskip("transformers").utils.logging
    saved(tmp_path / "vit")
    said.enable_progress_bar()
    capfd.readouterr()
    registry.build("network", {"huggingface": {"model": str(tmp_path / "vit")}}, task_of((3, 32, 32)))
    assert capfd.readouterr().err == ""
    assert said.is_progress_bar_enabled()
