"""The models of timm, and what their weights were trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from oodbench.core.errors import UserError, meant, one_line
from oodbench.core.network import Input, Network, Task
from oodbench.core.registry import network
from oodbench.training.hub import not_had, package, quiet
from oodbench.training.own_input import CannotBeFed, held
from oodbench.training.splitting import split

_OURS = ("pretrained", "num_classes", "in_chans")


def _checked(timm: Any, model: str, options: Mapping[str, Any]) -> str:
    """What errors call the network. UserError for an unknown model, or an option that is not the user's."""
    source, _, folder = model.partition(":")
    if source == "local-dir" and not (Path(folder) / "config.json").is_file():
        raise UserError(f"network 'timm' ({model}): {Path(folder).absolute()} has no config.json of timm's")
    elsewhere = source in ("hf-hub", "hf_hub", "local-dir") and ":" in model
    if not elsewhere and not timm.is_model(model):
        raise UserError(
            f"network 'timm': unknown model {model!r}{meant(model.split('.')[0], timm.list_models())[:500]}"
        )
    taken = [o for o in _OURS if o in options]
    if taken:
        raise UserError(
            f"network 'timm' ({model}): options.{taken[0]} is not for options:"
            " `pretrained` is a parameter, classes and channels are the pair's"
        )
    return f"'timm' ({model})"


def _configured(timm: Any, model: str, options: Mapping[str, Any], who: str) -> dict[str, Any]:
    """What timm knows of the weights of a model, with the user's changes."""
    source, _, name = model.rpartition(":")
    if not source:
        found = timm.models.get_pretrained_cfg(model)
        config = {} if found is None else found.to_dict()
    else:
        try:
            with quiet():
                if source == "local-dir":
                    config = timm.models.load_model_config_from_path(Path(name))[0]
                else:
                    config = timm.models.load_model_config_from_hf(name)[0]
        except Exception as error:
            raise UserError(f"network {who}: {not_had(name, error)}") from None
    given = options.get("pretrained_cfg")
    if isinstance(given, str):
        config = timm.models.get_pretrained_cfg(f"{model.split('.')[0]}.{given}").to_dict()
    elif isinstance(given, Mapping):
        config = dict(given)
    return {**config, **(options.get("pretrained_cfg_overlay") or {})}


def _trained_on(params: Mapping[str, Any]) -> Input | None:
    if not params["pretrained"]:
        return None
    timm, options = package("timm", "network 'timm'"), params["options"]
    who = _checked(timm, params["model"], options)
    try:
        config = _configured(timm, params["model"], options, who)
        size = options.get("img_size")
        edges = None if size is None else (3, size, size) if isinstance(size, int) else (3, *size)
        data = timm.data.resolve_data_config({"input_size": edges}, pretrained_cfg=config)
        transform = partial(timm.data.create_transform, **data, is_training=False)
        return preset(data, transform, f"network {who}")
    except UserError:
        raise
    except Exception as error:
        why = one_line(error) or type(error).__name__
        raise UserError(f"network {who}: what its weights were trained on cannot be told ({why})") from None


def preset(data: Mapping[str, Any], transform: Any, who: str) -> Input:
    """The input of a data configuration of timm; `transform()` is timm's own. CannotBeFed where no geometry
    here gives what that does."""
    known = Input(tuple(data["mean"]), tuple(data["std"]))
    (_, height, width), kind, mode = data["input_size"], data["interpolation"], data["crop_mode"]
    scaled = tuple(math.floor(edge / data["crop_pct"]) for edge in (height, width))
    if kind not in ("bilinear", "bicubic"):
        raise CannotBeFed(f"{who}: its weights want {kind} images; bilinear and bicubic are known", known)
    if mode == "squash":
        resize: int | tuple[int, int] | None = (scaled[0], scaled[1])
    elif mode == "center" and scaled[0] == scaled[1] and height == width:
        resize = scaled[0]
    else:
        raise CannotBeFed(
            f"{who}: its weights want images of {height} x {width} by crop_mode {mode!r}; known are squash,"
            " and center of square images",
            known,
        )
    made = known._replace(
        resize=None if resize == (height, width) else resize, crop=(height, width), interpolation=kind,
        antialias=True, margin="rounded",
    )  # fmt: skip
    return held(made, transform(), who)


@network("timm", source="timm.create_model", version=2, own_input=_trained_on)
def from_timm(task: Task, *, model: str, pretrained: bool = False, options: dict[str, Any] = {}) -> Network:  # noqa: B006
    """Any model of timm (an extra: pip install timm), untrained or pretrained, by its name,
    ``hf-hub:owner/name`` or ``local-dir:folder`` (from the current folder on); `options` go to
    timm.create_model (img_size, drop_rate).

    If pretrained, a suite normalises images as those weights were trained, and takes their sizes with
    ``input: auto``; in code the task should have that mean and std (`input_of`)."""
    timm = package("timm", "network 'timm'")
    who = _checked(timm, model, options)
    try:
        with quiet():
            made = timm.create_model(
                model, pretrained=pretrained, num_classes=task.classes, in_chans=task.shape[0], **options
            )
    except OSError as error:
        raise UserError(f"network {who}: {not_had(model, error)}") from None
    except Exception as error:
        raise UserError(f"network {who}: cannot be made ({one_line(error)})") from None
    return split(task, made, who)
