"""A classifier that somebody else wrote, as features and head: found by the layer that gives the logits."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from oodbench.core.errors import ANYTHING, NotApplicable, UserError, reason_of
from oodbench.core.network import Network, Task

_MOST_HEADS = 4
"""Layers whose outputs a module may average."""


class _Call(NamedTuple):
    """A module that ran: what it was given, what it gave."""

    name: str
    module: nn.Module
    given: Tensor
    made: Tensor


def split(task: Task, module: nn.Module, who: str) -> Network:
    """A classifier as features and head.

    The head is the last layer that maps features linearly: an nn.Linear, or a 1x1 convolution before or after
    the pooling. An identity stands in its place, so that the module gives the features. Where the logits are
    the average of several heads (a distilled DeiT, LeViT), the features are those of all heads side by side,
    and the head's weight is theirs side by side, divided by their number.

    Checked on random images: ``head(features)`` is what the module gave, also with the head's sign turned.
    Stages are the parts of the module that hold layers and give maps or tokens, in the order they run.

    Args:
        task: what the network must fit. Its mean and std are what the module was trained with.
        module: it is changed.
        who: what errors call it.

    Raises:
        NotApplicable: it does not take images of the task's shape.
        UserError: its logits are not those of a linear layer.
    """
    images = torch.rand(2, *task.shape, generator=torch.Generator().manual_seed(0))
    with _evaluating(module):
        logits, ran = _watched(module, images, task, who)
        heads = _heads(module, images, logits, ran, who)
        last = heads[-1]
        _put(module, heads, _places(len(heads)))  # for good
        features = module(images)
        if features.ndim != 2 or (_gives(last, logits) and not torch.equal(features, last.given.flatten(1))):
            raise UserError(
                f"network {who}: without the layer {last.name!r} it does not give that layer's inputs (N, D)"
            )
        head = _side_by_side([call.module for call in heads])
        if head is None or not _close(head(features), logits):
            raise UserError(
                f"network {who}: its layer {last.name!r} is more than a linear layer; return the logits of an"
                " nn.Linear"
            )
    return Network(task, module, head, [f"body.{n}" for n in _stages(ran)])


def for_classes(made: Network, classes: int) -> Network:
    """The network with a new head where it has another number of classes."""
    assert isinstance(made.head, nn.Linear)
    if made.head.out_features != classes:
        made.head = nn.Linear(made.head.in_features, classes)
    return made


def three_channels(task: Task, who: str) -> None:
    """Raises NotApplicable for a task of grey images."""
    if task.shape[0] != 3:
        raise NotApplicable(
            f"network {who} takes images of 3 channels, got {task.shape[0]}; give the pair `geometry:"
            " {shape: [3, height, width]}`"
        )


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    mode = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(mode)


def _watched(module: nn.Module, images: Tensor, task: Task, who: str) -> tuple[Any, list[_Call]]:
    """What the module gives, and every part of it that ran on a tensor and gave one, in order of the ends."""
    ran: list[_Call] = []
    names = {m: name for name, m in module.named_modules() if name}

    def remember(m: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            ran.append(_Call(names[m], m, inputs[0], output))

    hooks = [m.register_forward_hook(remember) for m in names]
    try:
        return module(images), ran
    except ANYTHING as error:
        raise NotApplicable(
            f"network {who}: does not take images of shape {tuple(task.shape)}"
            f" ({reason_of(error)}); choose another, or a pair with another geometry"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()


def _is_linear(module: nn.Module) -> bool:
    """Whether a layer maps each vector of features to one of classes by itself."""
    if isinstance(module, nn.Conv2d):
        ones = (module.kernel_size, module.stride) == ((1, 1), (1, 1))
        return ones and module.groups == 1 and module.padding in ((0, 0), "valid", "same")
    return isinstance(module, nn.Linear)


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def _gives(call: _Call, logits: Tensor) -> bool:
    """Whether the logits are what this layer made, as they are or without their empty dimensions."""
    return call.made is logits or torch.equal(call.made.flatten(1), logits)


def _heads(module: nn.Module, images: Tensor, logits: Any, ran: list[_Call], who: str) -> list[_Call]:
    """The layers that make the logits: one, or several whose average they are."""
    linear = [call for call in ran if _is_linear(call.module)]
    if isinstance(logits, Tensor) and linear:
        if _gives(linear[-1], logits):
            return linear[-1:]
        last = list({call.name: call for call in linear[-_MOST_HEADS:]}.values())
        for count in range(1, len(last) + 1):
            if _make(module, images, logits, last[-count:]):
                return last[-count:]
    raise UserError(f"network {who}: {_no_head(logits, linear)}")


def _make(module: nn.Module, images: Tensor, logits: Tensor, heads: list[_Call]) -> bool:
    """Whether the logits are linear in what these layers are given: they turn their sign with the layers, and
    without them the module gives features of which a linear layer makes the logits. The module is left as it
    was."""
    try:
        _put(module, heads, [_turned(call.module) for call in heads])
        turned = module(images)
        _put(module, heads, _places(len(heads)))
        head = _side_by_side([call.module for call in heads])
        made = None if head is None else head(module(images))
        return made is not None and _close(turned, -logits) and _close(made, logits)
    except Exception:  # what stands behind the layers cannot take features, or takes no tensor of that shape
        return False
    finally:
        _put(module, heads, [call.module for call in heads])


def _put(module: nn.Module, at: Sequence[_Call], parts: Sequence[nn.Module]) -> None:
    for call, part in zip(at, parts, strict=True):
        parent, _, name = call.name.rpartition(".")
        setattr(module.get_submodule(parent), name, part)


def _places(count: int) -> list[nn.Module]:
    return [nn.Identity()] if count == 1 else [_Place(i, count) for i in range(count)]


class _Place(nn.Module):
    """Stands for one of several heads whose outputs are averaged: its features at their place among those of
    all, times the number of heads, so that the average has them all side by side."""

    def __init__(self, index: int, count: int) -> None:
        super().__init__()
        self.index, self.count = index, count

    def forward(self, x: Tensor) -> Tensor:
        others = torch.zeros_like(x)
        return torch.cat([self.count * x if i == self.index else others for i in range(self.count)], dim=1)


def _turned(layer: nn.Module) -> nn.Module:
    """The layer with its sign turned."""
    turned = copy.deepcopy(layer)
    for p in turned.parameters():
        p.neg_()
    return turned


def _side_by_side(layers: Sequence[Any]) -> nn.Linear | None:
    """One nn.Linear that gives the average of what the layers give of their own part of its features; None
    where one keeps its weight in another way than a linear layer does."""
    if len(layers) == 1 and type(layers[0]) is nn.Linear:
        return layers[0]
    weights, biases = [m.weight for m in layers], [m.bias for m in layers if m.bias is not None]
    if len(biases) not in (0, len(layers)) or not all(
        isinstance(p, nn.Parameter) for p in (*weights, *biases)
    ):
        return None
    weight = torch.cat([w.flatten(1) for w in weights], dim=1) / len(layers)
    made = nn.Linear(weight.shape[1], weight.shape[0], bool(biases), device="meta")
    made.weight = nn.Parameter(weight)
    if biases:
        made.bias = nn.Parameter(torch.stack(biases).mean(dim=0))
    return made


def _no_head(made: Any, linear: list[_Call]) -> str:
    """Why the output of a module is not that of a head, and what to do."""
    if isinstance(getattr(made, "logits", None), Tensor):
        return (
            f"it returns a {type(made).__name__}, not logits; for a model of transformers use network"
            " `huggingface`, or return .logits"
        )
    if not isinstance(made, Tensor):
        return f"it returns a {type(made).__name__}, not logits; return the logits (N, classes) alone"
    what = ""
    if linear and isinstance(linear[-1].module, nn.Conv2d):
        what = (
            f" ({linear[-1].name!r} is a convolution, and more than pooling comes after it, such as a ReLU)"
        )
    return (
        f"its output is not that of a linear layer{what}, so that features and head cannot be told apart;"
        " return the logits of an nn.Linear (of a product like features @ texts.T, as a CLIP has it: put the"
        " text embeddings into an nn.Linear(bias=False))"
    )


def _stages(ran: list[_Call]) -> list[str]:
    """Parts that hold layers and give maps or tokens, as fine as authors name the stages of a network."""
    parts = {
        c.name: c
        for c in ran
        if c.made.ndim > 2
        and any(True for _ in c.module.children())
        and any(True for _ in c.module.parameters())
    }
    return [n for name in _told_apart(list(parts)) for n in _opened(name, parts)]


def _inside(name: str, names: Sequence[str]) -> list[str]:
    return [n for n in names if n.startswith(f"{name}.")]


def _outermost(names: Sequence[str]) -> list[str]:
    """Names without those inside another of them."""
    return [n for n in names if not any(n.startswith(f"{other}.") for other in names)]


def _told_apart(names: Sequence[str]) -> list[str]:
    """The outermost names. The only one (`features`, `encoder`), and the only one that is made of several
    blocks with parts of their own (`blocks` after a `patch_embed`), gives way to what is inside."""
    top = _outermost(names)
    wide = (
        top
        if len(top) == 1 and len(_inside(top[0], names)) > 1
        else [n for n in top if _blocks(n, names) > 1]
    )
    if len(wide) != 1:
        return top
    return [n for name in top for n in (_told_apart(_inside(name, names)) if name in wide else [name])]


def _blocks(name: str, names: Sequence[str]) -> int:
    """How many parts with parts of their own are inside."""
    return sum(bool(_inside(n, names)) for n in _outermost(_inside(name, names)))


def _opened(name: str, parts: dict[str, _Call]) -> list[str]:
    """A stage that only hands on what its last part gives, a sequence of blocks, is its parts (a reduction
    and those blocks, as torchvision has them apart)."""
    names = list(parts)
    inner = _outermost(_inside(name, names))
    hands_on = (
        not isinstance(parts[name].module, nn.Sequential)
        and bool(inner)
        and isinstance(parts[inner[-1]].module, nn.Sequential)
        and parts[inner[-1]].made is parts[name].made
        and _blocks(inner[-1], names) > 0
    )
    return inner if hands_on else [name]
