"""Image classifiers of transformers, and what their weights were trained on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BeforeValidator
from torch import Tensor, nn

from oodbench.core.dataset import Interpolation
from oodbench.core.errors import UserError, one_line
from oodbench.core.network import Input, Network, Task
from oodbench.core.registry import network
from oodbench.core.usercode import from_folder
from oodbench.training.hub import package, quiet, repository
from oodbench.training.networks.timm_models import preset
from oodbench.training.own_input import CannotBeFed, held
from oodbench.training.splitting import split

_FILTERS: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers for them."""
_NO_CROP = 384
"""A ConvNeXt's edge from which its processor does not crop."""


def _model(raw: Any, info: pydantic.ValidationInfo) -> Any:
    """A local folder as a Path, from the folder of the suite on; the name of a model as it is."""
    if not isinstance(raw, str):
        return raw
    folder = from_folder(Path(raw), info)
    is_name = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", raw) and not raw.startswith(".")
    return raw if is_name and not folder.is_dir() else folder


def _folder(model: str | Path, who: str, patterns: tuple[str, ...]) -> Path:
    """The folder with a model's files. UserError in one line where there is none."""
    if isinstance(model, Path):
        if not model.is_dir():
            raise UserError(f"network {who}: no such folder: {model}")
        folder = model
    else:
        try:
            folder = repository(model, patterns)
        except UserError as error:
            raise UserError(f"network {who}: {error}") from None
    if not (folder / "config.json").is_file():
        raise UserError(
            f"network {who}: {folder} has no config.json; save a model there by save_pretrained()"
        )
    return folder


def _who(model: str | Path) -> str:
    return f"'huggingface' ({model.name if isinstance(model, Path) else model})"


def _trained_on(params: Mapping[str, Any]) -> Input:
    transformers, who = package("transformers", "network 'huggingface'"), _who(params["model"])
    folder = _folder(params["model"], who, ("*.json",))
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        raise CannotBeFed(
            f"network {who}: it has no preprocessor_config.json, so what it was trained on is not known;"
            " write out `input: {mean, std, resize, crop, interpolation}`, or save its image processor there",
            Input(),
        )
    try:
        with quiet():
            processor = transformers.AutoImageProcessor.from_pretrained(folder)
    except Exception as error:
        raise UserError(
            f"network {who}: its image processor cannot be read ({one_line(error, 150)})"
        ) from None
    return fed_by(processor, f"network {who}")


def fed_by(processor: Any, who: str) -> Input:
    """The input that an image processor of transformers makes. CannotBeFed where no geometry gives it."""

    def transform(picture: Any) -> Tensor:
        return processor(picture, return_tensors="pt")["pixel_values"][0]

    data = getattr(processor, "data_config", None)
    if data is not None:  # a model of timm's
        return preset(data, lambda: transform, who)
    says = processor.to_dict()
    known = _normalised(says)
    sizes = _sizes(says, hasattr(processor, "crop_pct"))
    kind = _FILTERS.get(int(says.get("resample", 2)))
    if sizes is None or kind is None or says.get("do_pad"):
        raise CannotBeFed(
            f"{who}: its image processor {type(processor).__name__} does what no geometry here does (size"
            f" {one_line(str(says.get('size')), 100)}, resample {says.get('resample')}); write out `input:"
            " {mean, std, resize, crop, interpolation}` as you mean it",
            known,
        )
    resize, crop = sizes
    if kind == "bicubic" and "Pil" not in type(processor).__name__:
        kind = "bicubic-torch"
    made = known._replace(resize=resize, crop=crop, interpolation=kind, antialias=True, margin="floored")
    return held(made if says.get("do_resize", True) else known, transform, who)


def _normalised(says: Mapping[str, Any]) -> Input:
    """Mean and std in the range [0, 1]: a processor scales by a factor, and may leave either step out."""
    scale = float(says.get("rescale_factor", 1 / 255)) * 255 if says.get("do_rescale", True) else 255.0
    moved = 1.0 if says.get("rescale_offset") and says.get("do_rescale", True) else 0.0
    mean, std = (says["image_mean"], says["image_std"]) if says.get("do_normalize", True) else (0.0, 1.0)
    channels = [v if isinstance(v, (list, tuple)) else [v] * 3 for v in (mean, std)]
    return Input(tuple((m + moved) / scale for m in channels[0]), tuple(s / scale for s in channels[1]))


def _sizes(says: Mapping[str, Any], cropped: bool) -> tuple[Any, Any] | None:
    """(resize, crop) of a geometry; None where it has none like it. `cropped`: a processor like ConvNeXt's,
    which crops by `crop_pct`."""
    size = {k: v for k, v in dict(says.get("size") or {}).items() if v is not None}
    short: Any = size.get("shortest_edge")
    whole: Any = size.get("height"), size.get("width")
    if cropped and set(size) == {"shortest_edge"}:
        return (int(short / says["crop_pct"]) if short < _NO_CROP else None), (short, short)
    crop = dict(says.get("crop_size") or {}) if says.get("do_center_crop") else {}
    window: Any = (crop.get("height"), crop.get("width")) if crop else whole
    if set(size) not in ({"shortest_edge"}, {"height", "width"}) or None in window:
        return None
    if window == whole:
        return None, window
    edges = (short, short) if short else whole
    fits = window[0] <= edges[0] and window[1] <= edges[1]  # else it would be filled up
    return (short or whole, window) if fits else None


def _logits(module: nn.Module, inputs: Any, output: Any) -> Any:
    return getattr(output, "logits", output)


@network("huggingface", source="transformers.AutoModelForImageClassification", own_input=_trained_on)
def from_huggingface(
    task: Task, *, model: Annotated[str | Path, BeforeValidator(_model)],
    options: dict[str, Any] = {},  # noqa: B006
) -> Network:  # fmt: skip
    """An image classifier of transformers (an extra: pip install transformers) with its weights: `model` is
    its name on the hub or a local folder; `options` go to from_pretrained.

    A suite normalises images as those weights were trained, and takes their sizes with ``input: auto``; in
    code the task should have that mean and std (`input_of`). A head for another number of classes is replaced
    by an untrained one. HF_HUB_OFFLINE is respected."""
    transformers, who = package("transformers", "network 'huggingface'"), _who(model)
    if "num_labels" in options:
        raise UserError(f"network {who}: options.num_labels is not for options: classes are the pair's")
    folder = _folder(model, who, ("*.json", "*.safetensors"))
    if not any(folder.glob("*.safetensors")) and isinstance(model, str):
        folder = _folder(model, who, ("*.json", "*.bin"))
    if not any(f.suffix in (".safetensors", ".bin") for f in folder.iterdir()):
        raise UserError(f"network {who}: {folder} has no weights (*.safetensors, *.bin)")
    try:
        with quiet():
            made = transformers.AutoModelForImageClassification.from_pretrained(
                folder, **{"num_labels": task.classes, "ignore_mismatched_sizes": True, **options}
            )
    except Exception as error:
        raise UserError(f"network {who}: cannot be made ({one_line(error, 200)})") from None
    made.register_forward_hook(_logits)
    return split(task, made, who)
