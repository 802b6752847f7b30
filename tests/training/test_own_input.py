"""What weights were trained on: the pixels that each library's own transform makes, on real photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.core.network import Input
from oodbench.data.images import fit, to_float
from oodbench.training.own_input import CannotBeFed, held, input_of, read_input
from tests.training.photos import photos

Transform = Callable[[Image.Image], Tensor]


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return photos()


def worst(made: Input, transform: Transform, pictures: list[Image.Image]) -> float:
    """The largest difference in grey levels between what a network is fed here and by a library."""
    assert made.mean is not None
    assert made.std is not None
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (made.mean, made.std))
    found = 0.0
    for picture in pictures:
        stored = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        ours = (to_float(fit(stored, made.geometry(Geometry((3, 8, 8)))))[0] - mean) / std
        theirs = transform(picture)
        assert ours.shape == theirs.shape
        found = max(found, float(((ours - theirs).abs() * std * 255).max()))
    return found


@pytest.mark.parametrize(
    ("model", "weights", "sizes"),
    [
        ("resnet50", "IMAGENET1K_V1", (256, 224, "bilinear")),
        ("resnet50", "IMAGENET1K_V2", (232, 224, "bilinear")),
        ("swin_t", "IMAGENET1K_V1", (232, 224, "bicubic")),
        ("convnext_tiny", "IMAGENET1K_V1", (236, 224, "bilinear")),
        ("regnet_y_16gf", "IMAGENET1K_SWAG_E2E_V1", (384, 384, "bicubic")),
        ("regnet_y_16gf", "IMAGENET1K_SWAG_LINEAR_V1", (224, 224, "bicubic")),
        ("vit_b_16", "IMAGENET1K_V1", (256, 224, "bilinear")),
    ],
)
def test_torchvision(model: str, weights: str, sizes: Any, pictures: list[Image.Image]) -> None:
    import torchvision

    made = input_of({"torchvision": {"model": model, "weights": weights}})
    assert made is not None
    assert (made.resize, made.crop, made.interpolation) == (sizes[0], (sizes[1],) * 2, sizes[2])
    transform = torchvision.models.get_model_weights(model)[weights].transforms()
    assert worst(made, transform, pictures) <= 1.01


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("deit_small_patch16_224", {}),
        ("beit_base_patch16_224", {}),
        ("vit_base_patch16_224.augreg_in21k_ft_in1k", {}),
        ("convnext_atto", {}),
        ("resnet18.tv_in1k", {}),  # bilinear
        ("eva02_tiny_patch14_336", {}),  # squeezed whole
        ("dm_nfnet_f0", {}),  # squeezed, then cropped
        ("resnet18", {"pretrained_cfg_overlay": {"crop_pct": 0.9, "crop_mode": "squash"}}),
        ("resnet18", {"pretrained_cfg_overlay": {"input_size": [3, 160, 160], "crop_pct": 0.8}}),
        ("vit_tiny_patch16_224", {"img_size": 96}),
    ],
)
def test_timm(model: str, options: dict[str, Any], pictures: list[Image.Image]) -> None:
    timm = pytest.importorskip("timm")
    made = input_of({"timm": {"model": model, "pretrained": True, "options": options}})
    assert made is not None
    net = timm.create_model(model, **options)
    size = {"input_size": (3, options["img_size"], options["img_size"])} if "img_size" in options else {}
    data = timm.data.resolve_data_config(size, model=net)
    assert worst(made, timm.data.create_transform(**data, is_training=False), pictures) <= 1.01


PROCESSORS = {
    "vit": {}, "vit-bicubic": {"resample": 3, "size": {"height": 96, "width": 120}},
    "convnext": {}, "convnext-cropped": {"size": {"shortest_edge": 224}}, "deit": {}, "beit": {},
    "beit-cropped": {"size": {"height": 256, "width": 256}, "do_center_crop": True},
    "clip": {}, "vit-unscaled": {"do_rescale": False, "do_normalize": False},
    "vit-own": {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "rescale_factor": 1 / 127.5},
}  # fmt: skip
CLASSES = {"vit": "ViT", "convnext": "ConvNext", "deit": "DeiT", "beit": "Beit", "clip": "CLIP"}


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("backend", ["", "Pil"])
def test_huggingface(name: str, backend: str, pictures: list[Image.Image]) -> None:
    transformers = pytest.importorskip("transformers")
    from oodbench.training.networks.huggingface import fed_by

    kind = getattr(transformers, f"{CLASSES[name.split('-')[0]]}ImageProcessor{backend}", None)
    if kind is None:
        pytest.skip("this version of transformers has no such class")
    processor = kind(**PROCESSORS[name])

    def transform(picture: Image.Image) -> Tensor:
        return processor(picture, return_tensors="pt")["pixel_values"][0]

    assert worst(fed_by(processor, "network 'x'"), transform, pictures[:25]) <= 1.01


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_open_clip(mode: str, pictures: list[Image.Image]) -> None:
    """ViT-B-32's preprocessing: what its configuration says, as an Input."""
    open_clip = pytest.importorskip("open_clip")
    transform = open_clip.transform.image_transform(224, is_train=False, resize_mode=mode)
    made = Input(
        open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD, 224 if mode == "shortest" else None,
        (224, 224), "bicubic", True,
    )  # fmt: skip
    assert worst(made, transform, pictures) <= 1.01
    assert held(made, transform, "x") == made


def test_what_cannot_be_had_here_is_one_line_that_keeps_mean_and_std() -> None:
    transformers = pytest.importorskip("transformers")
    timm = pytest.importorskip("timm")
    from oodbench.training.networks.huggingface import fed_by
    from oodbench.training.networks.timm_models import preset

    vit = transformers.ViTImageProcessor
    data = timm.data.resolve_data_config({}, pretrained_cfg={"mean": (0.5,) * 3, "std": (0.5,) * 3})
    for ask in (
        lambda: fed_by(vit(resample=1), "network 'x'"),
        lambda: fed_by(
            transformers.CLIPImageProcessor(crop_size={"height": 256, "width": 256}), "network 'x'"
        ),
        lambda: fed_by(vit(size={"shortest_edge": 64, "longest_edge": 80}), "network 'x'"),
        lambda: preset({**data, "interpolation": "lanczos"}, None, "network 'x'"),
        lambda: preset({**data, "crop_mode": "border"}, None, "network 'x'"),
        lambda: preset({**data, "input_size": (3, 224, 160)}, None, "network 'x'"),
    ):
        with pytest.raises(CannotBeFed) as caught:
            ask()
        assert str(caught.value).startswith("network 'x': ")
        assert str(caught.value).isprintable()
        assert caught.value.known.mean is not None


def test_a_transform_that_does_more_is_noticed() -> None:
    made = Input((0.5,) * 3, (0.5,) * 3, None, (64, 64))

    def mirrored(picture: Image.Image) -> Tensor:
        small = np.array(
            picture.resize((64, 64), Image.Resampling.BILINEAR).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        )
        return torch.from_numpy(small).permute(2, 0, 1) / 127.5 - 1

    with pytest.raises(CannotBeFed, match="network 'x': its own preprocessing makes other pixels"):
        held(made, mirrored, "network 'x'")


def test_no_weights_say_nothing() -> None:
    assert input_of("resnet18-32") is None
    assert input_of({"torchvision": {"model": "resnet18"}}) is None
    if pytest.importorskip("timm"):
        assert input_of({"timm": {"model": "resnet18"}}) is None


CODE = """import torch.nn as nn
def net(task): return nn.Sequential(nn.Flatten(), nn.Linear(192, task.classes))
def plain(task): return net(task)
net.input = {given}
"""


def test_a_users_module_may_say_what_it_was_trained_on(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(CODE.format(given="dict(mean=[.5]*3, std=[.2]*3, resize=40, crop=32)"))
    said = input_of({"module": {"target": f"{tmp_path / 'nets.py'}:net"}})
    assert said == Input((0.5,) * 3, (0.2,) * 3, 40, (32, 32))
    assert input_of({"module": {"target": f"{tmp_path / 'nets.py'}:plain"}}) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "should be an oodbench.Input or a mapping, got 3"),
        ({"means": [1]}, "unknown key 'means'; did you mean 'mean'"),
        ({"mean": "a", "std": [1.0]}, "`input` mean: .*, got 'a'"),
        ({"mean": [0.5]}, "`input` std is missing; mean and std belong together"),
        ({"mean": [0.5], "std": [0.1, 0.2]}, "`input` mean has 1 numbers, std 2"),
        ({"interpolation": "lanczos"}, "`input` interpolation: .*got 'lanczos'"),
        ({"mean": [0.5], "std": [0.0]}, r"`input` std\[0\]: .*greater than 0, got 0.0"),
        ({"mean": [float("nan")], "std": [0.5]}, r"`input` mean\[0\]: .*got nan"),
        ({"mean": [127.0], "std": [64.0]}, r"`input` mean\[0\]: .*equal to 1, got 127.0"),
        (Input((0.5,), (float("nan"),)), r"`input` std\[0\]: .*got nan"),
        (Input((0.5,), (-1.0,)), r"`input` std\[0\]: .*greater than 0, got -1.0"),
        ({"mean": [], "std": []}, "`input` mean: .*at least 1"),
        ({"crop": True}, r"`input` crop: .*got true"),
        ({"crop": 0}, r"`input` crop: .*got 0"),
        ({"resize": True}, "`input` resize: .*got true"),
        ({"antialias": "yes"}, "`input` antialias: .*got 'yes'"),
        ({"resize": 20, "crop": 24}, r"`input` resize \(20\) should be at least as large as the crop \(24\)"),
        (Input(resize=20, crop=(24, 24)), r"`input` resize \(20\) should be at least as large as the crop"),
        ({3: [1]}, "unknown key '3'"),
    ],
)
def test_a_wrong_word_of_a_module_is_one_line(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_input(given, "network 'module' (a.py:net)")
    assert str(caught.value).isprintable()
