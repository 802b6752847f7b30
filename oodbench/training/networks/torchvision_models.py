"""The classification models of torchvision, and what their weights were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oodbench.core.errors import UserError, meant
from oodbench.core.network import Input, Network, Task
from oodbench.core.registry import network
from oodbench.training.own_input import CannotBeFed, held
from oodbench.training.splitting import for_classes, split, three_channels


def _weights(model: str, name: str | None) -> Any:
    """The member of torchvision's enumeration; None where no weights are asked for."""
    import torchvision

    models = torchvision.models.list_models(module=torchvision.models)
    if model not in models:
        raise UserError(f"network 'torchvision': unknown model {model!r}{meant(model, models)}")
    known = {} if name is None else {w.name: w for w in torchvision.models.get_model_weights(model)}
    if name is not None and name not in known:
        raise UserError(
            f"network 'torchvision': model {model!r} has no weights {name!r}; there: {', '.join(known)}"
        )
    return None if name is None else known[name]


def _trained_on(params: Mapping[str, Any]) -> Input | None:
    weights = _weights(params["model"], params["weights"])
    if weights is None:
        return None
    preset = weights.transforms()
    known, who = Input(tuple(preset.mean), tuple(preset.std)), f"network 'torchvision' ({params['model']})"
    size, kind = preset.crop_size[0], preset.interpolation.value
    if kind not in ("bilinear", "bicubic"):
        raise CannotBeFed(
            f"{who}: its weights were trained on {kind} images; bilinear and bicubic are known", known
        )
    made = known._replace(
        resize=preset.resize_size[0], crop=(size, size), interpolation=kind, antialias=True, margin="rounded"
    )
    return held(made, preset, who)


@network("torchvision", source="torchvision.models", version=2, own_input=_trained_on)
def from_torchvision(task: Task, *, model: str, weights: str | None = None) -> Network:
    """Any classification model of torchvision, untrained or with its `weights` (by their full name, such as
    IMAGENET1K_V1).

    A suite normalises images as those weights were trained, and takes their sizes with ``input: auto``; in
    code the task should have that mean and std (`input_of`). A head for another number of classes is replaced
    by an untrained one."""
    import torchvision

    chosen, who = _weights(model, weights), f"'torchvision' ({model})"
    three_channels(task, who)
    if chosen is None:
        return split(task, torchvision.models.get_model(model, weights=None, num_classes=task.classes), who)
    try:
        made = torchvision.models.get_model(model, weights=chosen)
    except OSError as error:
        raise UserError(
            f"network {who}: its weights could not be fetched from {chosen.url} ({error})"
        ) from None
    return for_classes(split(task, made, who), task.classes)
