"""What images a vision-language model was trained on, by its files or its name, without its weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from oodbench.core.network import Input
from oodbench.training.hub import package as library_of
from oodbench.training.networks.clip_libraries import configuration, local, pair, quietly
from oodbench.training.networks.huggingface import fed_by
from oodbench.training.own_input import held


def input_of(library: str, model: str | Path, pretrained: str | Path | None, who: str) -> Input:
    """What images the model was trained on, by its files or its name, without its weights. UserError as of
    `loaded`."""
    return _of_hugging_face(model, who) if library == "huggingface" else _of_open_clip(model, pretrained, who)


def _of_open_clip(model: str | Path, pretrained: str | Path | None, who: str) -> Input:
    package = library_of("open_clip", f"network {who}", "open_clip_torch")
    with quietly(who, "its configuration"):
        found, given = configuration(package, model, pretrained, who)
        size = pair(found["vision_cfg"].get("image_size", 224))
        known = {f.name for f in dataclasses.fields(package.transform.PreprocessCfg)}
        preset = package.transform.PreprocessCfg(
            **{k: v for k, v in given.items() if k in known}, **({} if "size" in given else {"size": size})
        )
        transform = package.transform.image_transform_v2(preset, is_train=False)
    edge = None if preset.resize_mode == "squash" else min(size)
    made = Input(tuple(preset.mean), tuple(preset.std), edge, size, preset.interpolation, True)
    return held(made, transform, f"network {who}")


def _of_hugging_face(model: str | Path, who: str) -> Input:
    package = library_of("transformers", f"network {who}")
    with quietly(who, "its image processor"):
        if isinstance(model, Path) and not (model / "preprocessor_config.json").is_file():
            config = package.AutoConfig.from_pretrained(model)
            size = pair(getattr(config, "vision_config", config).image_size)
            sizes = {"size": {"shortest_edge": min(size)}, "crop_size": {"height": size[0], "width": size[1]}}
            processor = package.CLIPImageProcessor(**sizes)
        else:
            processor = package.AutoImageProcessor.from_pretrained(str(model), local_files_only=local(model))
        return fed_by(processor, f"network {who}")
