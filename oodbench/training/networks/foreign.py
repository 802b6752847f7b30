"""Networks that others define (torchvision, timm, a user). Features and head are found by the layer that
gives the logits."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from oodbench.core.errors import ANYTHING, NotApplicable, UserError, meant, one_line, reason_of
from oodbench.core.network import Network, Task
from oodbench.core.registry import network
from oodbench.core.usercode import Code


def split(task: Task, module: nn.Module, who: str) -> Network:
    """A classifier as features and head: the last linear layer that runs becomes the head, an identity stands
    in its place.

    Checked on random images: the module's output was that layer's, and what the module now gives is what that
    layer was given. Stages are the parts of the module that hold layers and give maps or tokens, in the order
    they run."""
    images = torch.rand(2, *task.shape, generator=torch.Generator().manual_seed(0))
    ran: list[tuple[str, nn.Module, Tensor, Tensor]] = []
    names = {m: name for name, m in module.named_modules() if name}

    def remember(m: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            ran.append((names[m], m, inputs[0], output))

    with _evaluating(module):
        hooks = [m.register_forward_hook(remember) for m in names]
        try:
            logits = module(images)
        except ANYTHING as error:
            raise NotApplicable(
                f"network {who}: does not take images of shape {tuple(task.shape)}"
                f" ({reason_of(error)}); choose another, or a pair with another geometry"
            ) from None
        finally:
            for hook in hooks:
                hook.remove()
        linear = [(name, m, given, out) for name, m, given, out in ran if isinstance(m, nn.Linear)]
        if not isinstance(logits, Tensor) or not linear or linear[-1][3] is not logits:
            raise UserError(
                f"network {who}: its output is not that of a linear layer, so that features and head cannot"
                " be told apart; return the logits of an nn.Linear"
            )
        name, last_layer, features, _ = linear[-1]
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, nn.Identity())
        if features.ndim != 2 or not torch.equal(module(images), features):
            raise UserError(
                f"network {who}: without the layer {name!r} it does not give that layer's inputs (N, D)"
            )
        head = _plain(last_layer)
        if not torch.allclose(head(features), logits, rtol=1e-4, atol=1e-5):
            raise UserError(
                f"network {who}: its layer {name!r} is more than a linear layer; return the logits of an"
                " nn.Linear"
            )
    stages = [
        n
        for n, m, _, out in ran
        if out.ndim > 2 and any(True for _ in m.children()) and any(True for _ in m.parameters())
    ]
    return Network(task, module, head, [f"body.{n}" for n in _outermost(stages)])


def _plain(linear: nn.Linear) -> nn.Linear:
    """A layer of a class derived from nn.Linear as an nn.Linear with the same parameters."""
    if type(linear) is nn.Linear:
        return linear
    plain = nn.Linear(linear.in_features, linear.out_features, device="meta")
    plain.weight, plain.bias = linear.weight, linear.bias
    return plain


def _outermost(names: list[str]) -> list[str]:
    """Names without those inside another of them; a single one that holds all (`features`, `encoder`) gives
    way to its parts."""
    names = list(dict.fromkeys(names))
    top = [n for n in names if not any(n.startswith(f"{other}.") for other in names)]
    inner = [n for n in names if n not in top]
    return _outermost(inner) if len(top) == 1 and len(inner) > 1 else top


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    mode = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(mode)


def _for_classes(made: Network, classes: int) -> Network:
    """The network with a new head where it has another number of classes."""
    assert isinstance(made.head, nn.Linear)
    if made.head.out_features != classes:
        made.head = nn.Linear(made.head.in_features, classes)
    return made


def _three_channels(task: Task, who: str) -> None:
    if task.shape[0] != 3:
        raise NotApplicable(
            f"network {who} takes images of 3 channels, got {task.shape[0]}; give the pair `geometry:"
            " {shape: [3, height, width]}`"
        )


@network("torchvision", source="torchvision.models")
def from_torchvision(task: Task, *, model: str, weights: str | None = None) -> Network:
    """Any classification model of torchvision, untrained or with its `weights` (by their full name, such as
    IMAGENET1K_V1).

    With weights, inputs are normalised as those weights were trained; size and crop are the pair's geometry.
    A head for another number of classes is replaced by an untrained one."""
    import torchvision

    models = torchvision.models.list_models(module=torchvision.models)
    who = f"'torchvision' ({model})"
    if model not in models:
        raise UserError(f"network 'torchvision': unknown model {model!r}{meant(model, models)}")
    _three_channels(task, who)
    if weights is None:
        return split(task, torchvision.models.get_model(model, weights=None, num_classes=task.classes), who)
    known = {w.name: w for w in torchvision.models.get_model_weights(model)}
    if weights not in known:
        raise UserError(
            f"network 'torchvision': model {model!r} has no weights {weights!r}; there: {', '.join(known)}"
        )
    chosen = known[weights]
    try:
        made = torchvision.models.get_model(model, weights=chosen)
    except OSError as error:
        raise UserError(
            f"network {who}: its weights could not be fetched from {chosen.url} ({error})"
        ) from None
    preset = chosen.transforms()
    return _for_classes(
        split(task._replace(mean=tuple(preset.mean), std=tuple(preset.std)), made, who), task.classes
    )


@network("timm", source="timm.create_model")
def from_timm(task: Task, *, model: str, pretrained: bool = False, options: dict[str, Any] = {}) -> Network:  # noqa: B006
    """Any model of timm (an extra: pip install timm), untrained or pretrained; `options` go to
    timm.create_model (img_size, drop_rate).

    If pretrained, inputs are normalised as those weights were trained; size and crop are the pair's geometry.
    """
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError:
        raise UserError(
            "network 'timm' needs the package timm, which is not installed; pip install timm"
        ) from None
    who = f"'timm' ({model})"
    if not timm.is_model(model):
        raise UserError(
            f"network 'timm': unknown model {model!r}{meant(model.split('.')[0], timm.list_models())[:500]}"
        )
    try:
        made = timm.create_model(
            model, pretrained=pretrained, num_classes=task.classes, in_chans=task.shape[0], **options
        )
    except Exception as error:
        raise UserError(f"network {who}: cannot be made ({one_line(error)})") from None
    if pretrained:
        task = task._replace(mean=tuple(made.pretrained_cfg["mean"]), std=tuple(made.pretrained_cfg["std"]))
    return split(task, made, who)


@network(
    "vit-small-32",
    source=(
        "Dosovitskiy et al., ICLR 2021; torchvision.models.VisionTransformer in the size of ViT-S (DeiT-S:"
        " 384, 12, 6)"
    ),
)
def vit_small_32(
    task: Task, *, patch: PositiveInt = 4, dim: PositiveInt = 384, depth: PositiveInt = 12,
    heads: PositiveInt = 6,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Network:  # fmt: skip
    """Vision transformer for small images: patches of `patch` x `patch` pixels, `depth` blocks of width `dim`
    with `heads` heads."""
    channels, height, width = task.shape
    if height != width or height % patch:
        raise NotApplicable(
            f"network 'vit-small-32' needs square images whose side is a multiple of patch={patch}, got"
            f" {height} x {width}"
        )
    if dim % heads:
        raise NotApplicable(f"network 'vit-small-32': dim={dim} should be a multiple of heads={heads}")
    from torchvision.models import VisionTransformer

    body: Any = VisionTransformer(
        height, patch, depth, heads, dim, 4 * dim, dropout, num_classes=task.classes
    )
    body.conv_proj = nn.Conv2d(channels, dim, patch, patch)
    nn.init.trunc_normal_(body.conv_proj.weight, std=(1 / (channels * patch * patch)) ** 0.5)
    nn.init.zeros_(body.conv_proj.bias)
    body.heads = nn.Identity()
    # torchvision's own head begins at zero, through which no gradient reaches the body in the first step
    return Network(
        task,
        body,
        nn.Linear(dim, task.classes),
        [f"body.encoder.layers.encoder_layer_{i}" for i in range(depth)],
    )


@network("module", source="a user's own code")
def from_module(task: Task, *, target: Code, options: dict[str, Any] = {}) -> Network:  # noqa: B006
    """A user's own nn.Module: `target` ("pkg.mod:factory", "file.py:Class") is called with `options`, and
    `task` if it takes that.

    The sha256 of the file that defines it is part of the identity. Its logits must be those of an nn.Linear,
    which becomes the head."""
    who = f"'module' ({target.rpartition('/')[2]})"
    try:
        takes_task = "task" in inspect.signature(target.target).parameters
        made = target.target(**({"task": task} if takes_task else {}), **options)
    except UserError:
        raise
    except ANYTHING as error:
        raise UserError(f"network {who}: {reason_of(error)}") from error
    if not isinstance(made, nn.Module):
        raise UserError(f"network {who}: should return an nn.Module, got {type(made).__name__}")
    made = made if isinstance(made, Network) else split(task, made, who)
    given = getattr(made.head, "out_features", task.classes)
    if given != task.classes:
        raise UserError(
            f"network {who}: gives {given} logits for {task.classes} classes; say so in `options`, or take"
            " `task`"
        )
    return made
