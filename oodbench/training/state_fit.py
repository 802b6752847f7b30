"""A state dict that somebody else saved, put under a network's own names, or why that cannot be."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from oodbench.core.errors import one_line, shown
from oodbench.training.foreign_state import State

_OTHER_NAMES = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"\.convShortcut\.", ".shortcut."),  # a wide ResNet's, as OE, OpenOOD and many others have it
        (r"\.downsample\.", ".shortcut."),
        (r"\.shortcut\.", ".downsample."),
        (r"\bblock(\d+)\.layer\.", r"block\1."),  # wide ResNets and DenseNets
        (r"\btrans(\d+)\.bn1\.", r"transition\1.0."),  # DenseNets
        (r"\btrans(\d+)\.conv1\.", r"transition\1.2."),
        (r"^bn1\.", "bn."),
        (r"^block1\.", "0."), (r"^block2\.", "1."), (r"^block3\.", "2."),  # LeNet
        (r"^classifier1\.", "4."),
    )
]  # fmt: skip
"""What others call the layers of networks that are registered here: tried where a name is not known."""
_MOST_HEADS = 4


class Fit(NamedTuple):
    """A state dict under a network's own names, and what is wrong with it: empty where it fits."""

    state: State
    wrong: str
    hits: int
    """Tensors of the network that were found, in its shapes."""


def fitted(state: State, wanted: Mapping[str, Tensor], prefix: str | None = None, strict: bool = True) -> Fit:
    """A state dict as a network with the tensors `wanted` would hold it: without a prefix that its names
    share (``module.``, ``encoder.``), a body's tensors with or without ``body.``, one layer of a head's
    shapes (or several whose outputs the network averages) as the head, and layers by names that others gave
    them (``shortcut`` or ``downsample``).

    Args:
        state: what somebody saved.
        wanted: the network's own state dict.
        prefix: taken off; ``None``: the one under which most tensors fit.
        strict: whether a tensor inside the prefix that the network does not have is wrong. Those outside are
            left out. One that the network has and the state dict lacks is always wrong.
    """
    if prefix:  # what lies outside is asked only where something is missing: a linear probe's head
        inside = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        fit = fitted(inside, wanted, "", strict)
        if not fit.wrong:
            return fit
    prefixes = _prefixes(state) if prefix is None else [prefix]
    own = functools.cache(lambda name: _own_name(name, wanted))
    prefix = max(prefixes, key=lambda p: (_hits(_named(state, p, own), wanted), -len(p)))
    named = _with_head(_named(state, prefix, own), wanted)
    # old files lack these counters, and nothing reads them
    named = {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")} | named
    outside = {k for k in named if k not in wanted and (not strict or (prefix and k in state))}
    if not set(wanted) - set(named):
        named = {k: v for k, v in named.items() if k not in outside}
    return Fit(named, _objection(named, wanted), _hits(named, wanted))


def beginnings(state: State) -> list[str]:
    """What names begin with, up to their first dot."""
    return sorted({k.partition(".")[0] + "." for k in state if "." in k})


def _prefixes(state: State) -> list[str]:
    """No prefix, and each that some name begins with, shortest first."""
    parts = {"", *(k[: m.end()] for k in state for m in re.finditer(r"\.", k))}
    return sorted(parts, key=len)


def _named(state: State, prefix: str, own: Callable[[str], str]) -> State:
    """The tensors without the prefix, under the network's names as far as it has such; what lacks the prefix
    keeps its name, and so does what would take the place of another."""
    named = {k: v for k, v in state.items() if not k.startswith(prefix)}
    named |= {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    taken = {own(k): k for k in sorted(named, key=lambda k: own(k).endswith(k))}  # its own name comes last
    return {own(k) if taken[own(k)] == k else k: v for k, v in named.items()}


def _own_name(name: str, wanted: Mapping[str, Tensor]) -> str:
    """The network's name of a tensor, as far as it is known under this or another name."""
    names = [name]
    for pattern, other in _OTHER_NAMES:
        names += [new for n in names if (new := pattern.sub(other, n)) != n]
    return next((k for n in names for k in (n, f"body.{n}") if k in wanted), name)


def _hits(named: State, wanted: Mapping[str, Tensor]) -> int:
    return sum(k in named and named[k].shape == v.shape for k, v in wanted.items())


def _with_head(named: State, wanted: Mapping[str, Tensor]) -> State:
    """With the one layer left over that has a head's shapes as the head, or with as many as have those of its
    parts, in their order: the weights side by side, divided by their number, and the mean bias."""
    head = {k.removeprefix("head."): v for k, v in wanted.items() if k.startswith("head.")}
    weight = head.get("weight")
    if weight is None or weight.ndim != 2 or _hits(named, {"head.weight": weight}):
        return named
    layers = list(dict.fromkeys(k.rpartition(".")[0] for k in named if k not in wanted or k == "head.weight"))
    for count in range(1, _MOST_HEADS + 1):
        part = {k: v[:, : v.shape[1] // count] if v.ndim == 2 else v for k, v in head.items()}
        fits = [n for n in layers if all(_same(named, f"{n}.{k}", v) for k, v in part.items())]
        if len(fits) == count and part["weight"].shape[1] * count == weight.shape[1]:
            own = {f"{n}.{k}" for n in fits for k in head}
            whole = {f"head.{k}": [named[f"{n}.{k}"] for n in fits] for k in head}
            return {k: v for k, v in named.items() if k not in own} | {
                k: _joined(v) for k, v in whole.items()
            }
    return named


def _same(named: State, name: str, wanted: Tensor) -> bool:
    """Whether a tensor is there in that shape, as a 1x1 convolution has it or as a linear layer."""
    return name in named and named[name].shape in (wanted.shape, (*wanted.shape, 1, 1))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    flat = [p.flatten(1) if p.ndim > 1 else p for p in parts]
    if len(flat) == 1:
        return flat[0]
    return torch.cat(flat, dim=1) / len(flat) if flat[0].ndim > 1 else torch.stack(flat).mean(dim=0)


def _objection(named: State, wanted: Mapping[str, Tensor]) -> str:
    missing, unknown = sorted(set(wanted) - set(named)), sorted(set(named) - set(wanted))
    shapes = [
        f"{k!r} has the shape {tuple(named[k].shape)}, the network's has {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in named and named[k].shape != v.shape
    ]
    if missing or unknown:
        head = _of_head(named, wanted, missing, unknown)
        what = [head] if head else _names(named, wanted, missing, unknown) + shapes[:1]
        return f"{'; '.join(what)}; it should hold the {len(wanted)} tensors of this network"
    if shapes:
        return shapes[0] + (f" (and {len(shapes) - 1} more)" if shapes[1:] else "")
    broken = [k for k, v in named.items() if not bool(torch.isfinite(v).all())]
    return f"{broken[0]!r} is not finite" if broken else ""


def _names(named: State, wanted: Mapping[str, Tensor], missing: list[str], unknown: list[str]) -> list[str]:
    """The names that do not fit."""
    what = [f"{_some(missing)} missing"] if missing else []
    what += [f"{_some(unknown)} not in the network"] if unknown else []
    if not missing:
        return [f"{what[0]} (`strict: false` leaves {'it' if len(unknown) == 1 else 'them'} out)"]
    if unknown:
        one, other = _nearest(named, wanted, missing, unknown)
        what.append(f"nearest to its {one} here is {other}")
    return what


def _nearest(
    named: State, wanted: Mapping[str, Tensor], missing: list[str], unknown: list[str]
) -> tuple[str, str]:
    """Of what has no place and what has none put in it, the two most alike by shape and name, with their
    shapes."""

    def alike(pair: tuple[str, str]) -> float:
        same = named[pair[0]].shape == wanted[pair[1]].shape
        return same + difflib.SequenceMatcher(None, pair[0], pair[1].removeprefix("body.")).ratio()

    most = 60
    few = [sorted(names, key=lambda n: not n.endswith("weight"))[:most] for names in (unknown, missing)]
    one, other = max(((u, m) for u in few[0] for m in few[1]), key=alike)
    return f"{one_line(one, 100)!r} {tuple(named[one].shape)}", f"{other!r} {tuple(wanted[other].shape)}"


def _of_head(named: State, wanted: Mapping[str, Tensor], missing: list[str], unknown: list[str]) -> str:
    """What is wrong where the body fits and the head alone does not; empty where there is more to it."""
    layers = {k.rpartition(".")[0] for k in unknown}
    weight = wanted.get("head.weight")
    if weight is None or len(layers) != 1 or any(not k.startswith("head.") for k in missing):
        return ""
    layer = layers.pop()
    own = named.get(f"{layer}.weight")
    if own is None or own.ndim != 2 or own.shape[1] != weight.shape[1]:
        return ""
    if own.shape[0] != weight.shape[0]:
        return f"its head {layer!r} gives {own.shape[0]} classes, the network's {weight.shape[0]}"
    return f"its head {layer!r} has no bias" if f"{layer}.bias" not in named else ""


def _some(names: list[str], most: int = 4) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + rest + (" is" if len(names) == 1 else " are")
