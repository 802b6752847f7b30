"""Loading: whole models, parts that are missing, and one line for each mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from oodbench.core.errors import UserError
from oodbench.training import hub as hub_of_ours
from oodbench.training.networks.clip_libraries import loaded
from tests.training.networks.clip_models import (
    ARCHITECTURE,
    hugging_face_folder,
    made,
    open_clip_folder,
)

JSON = Path(__file__).with_name("clip.json")


def weights(model: Any) -> dict[str, Any]:
    return dict(model.module.state_dict())


def test_a_file_of_weights_or_its_folder_on_an_architecture(open_clip_model: Path, tmp_path: Path) -> None:
    whole = loaded("open_clip", open_clip_model, None, "x")
    file = open_clip_model / "open_clip_model.safetensors"
    torch.save({"state_dict": {f"module.{k}": v for k, v in weights(whole).items()}}, tmp_path / "w.pt")
    for place in (file, open_clip_model, tmp_path / "w.pt"):
        again = loaded("open_clip", JSON, place, "x")
        assert all(torch.equal(v, weights(again)[k]) for k, v in weights(whole).items())
        assert again.digest == whole.digest
    assert loaded("open_clip", JSON, None, "x").digest == "", "drawn weights have no digest"
    assert (whole.size, round(whole.scale, 3)) == ((32, 32), 14.286)


def test_openais_activation_belongs_to_openais_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("open_clip")
    asked: list[Any] = []

    def create(model: str, tag: str | None, **more: Any) -> Any:
        asked.append((model, tag, more["force_quick_gelu"]))
        return made()

    monkeypatch.setattr(package, "create_model", create)
    loaded("open_clip", "ViT-B-16", "openai", "x")
    loaded("open_clip", "ViT-B-16", "laion2b_s34b_b88k", "x")
    assert asked == [("ViT-B-16", "openai", True), ("ViT-B-16", "laion2b_s34b_b88k", False)]
    monkeypatch.setattr(package, "get_pretrained_cfg", lambda m, t: {"mean": 0, "quick_gelu": False})
    with pytest.raises(UserError, match=r"without quick GELU; take the model ViT-B-16$"):
        loaded("open_clip", "ViT-B-16-quickgelu", "openai", "x")


@pytest.mark.parametrize(
    ("model", "pretrained", "says"),
    [
        ("ViTB-16", None, "has no model 'ViTB-16'; did you mean 'ViT-B-16'"),
        (
            "ViT-B-16",
            "opnai",
            "no file 'opnai', and ViT-B-16 has no weights of that name; did you mean 'openai'",
        ),
    ],
)
def test_unknown_names(model: str, pretrained: str | None, says: str) -> None:
    pytest.importorskip("open_clip")
    with pytest.raises(UserError, match=says) as found:
        loaded("open_clip", model, pretrained, "x")
    assert "\n" not in str(found.value)


def test_weights_of_another_architecture(open_clip_model: Path, tmp_path: Path) -> None:
    other = open_clip_folder(tmp_path / "wide", ARCHITECTURE | {"embed_dim": 20})
    with pytest.raises(
        UserError, match=r"weights open_clip_model.safetensors could not be read .*proj"
    ) as found:
        loaded("open_clip", JSON, other, "x")
    assert "\n" not in str(found.value)


def test_folders_that_lack_something(open_clip_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"empty.*should hold one file of weights, has none of"):
        loaded("open_clip", JSON, empty, "x")
    with pytest.raises(UserError, match="should hold one file of weights"):
        loaded("open_clip", empty, None, "x")
    shutil.copy(open_clip_model / "open_clip_model.safetensors", empty / "a.safetensors")
    with pytest.raises(UserError, match=r"open_clip_config.json: no such file; a folder of open_clip's"):
        loaded("open_clip", empty, None, "x")
    (empty / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 3}}))
    with pytest.raises(UserError, match="should hold embed_dim, vision_cfg and text_cfg"):
        loaded("open_clip", empty, None, "x")
    (empty / "a.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"the weights a.safetensors could not be read"):
        loaded("open_clip", JSON, empty, "x")


def test_a_folder_of_transformers_without_its_tokenizer(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "hf", tokenizer=False)
    with pytest.raises(UserError, match="tokenizer") as found:
        loaded("huggingface", folder, None, "x")
    assert "\n" not in str(found.value)
    with pytest.raises(UserError, match="with library: huggingface the model is the folder"):
        loaded("huggingface", folder, "openai", "x")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="of type 'bert', not clip"):
        loaded("huggingface", folder, None, "x")


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(UserError, match="put its files here and name their folder") as found:
        loaded("huggingface", "nobody/no-such-model-of-this-test", None, "x")
    assert "\n" not in str(found.value)
    pytest.importorskip("open_clip")
    for model, tag in (("ViT-B-32", "openai"), ("hf-hub:nobody/no-such-model-of-this-test", None)):
        with pytest.raises(UserError, match="put its files here and name their folder") as found:
            loaded("open_clip", model, tag, "x")
        assert "\n" not in str(found.value)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name=name)

    monkeypatch.setattr(hub_of_ours.importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"x needs the package open_clip, .*; pip install open_clip_torch"):
        loaded("open_clip", "ViT-B-16", None, "x")
    with pytest.raises(UserError, match="pip install transformers"):
        loaded("huggingface", "a/b", None, "x")


def test_a_file_that_holds_no_weights(open_clip_model: Path, tmp_path: Path) -> None:
    """torch's own words tell how to read it unsafely."""
    (tmp_path / "words.pt").write_text("no weights")
    (tmp_path / "arch.json").write_text(json.dumps(ARCHITECTURE))
    with pytest.raises(UserError) as caught:
        loaded("open_clip", tmp_path / "arch.json", tmp_path / "words.pt", "'clip' (arch.json)")
    assert "words.pt: is no checkpoint of torch or safetensors, or damaged" in str(caught.value)
    assert "weights_only" not in str(caught.value)
