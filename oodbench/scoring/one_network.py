"""Whether outputs of several sets can be those of one network: what one set says is held against the
others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oodbench.core.network import Head
from oodbench.core.outputs import Outputs, are_probabilities

_ROWS = 500
"""At most so many evenly spaced samples of a set are put through its head: another network's head is off by
far on nearly every one."""


class OneNetwork:
    """Sets are shown to it one after the other. It remembers shapes and the head, never the outputs, so that
    each set may be let go before the next is read."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, Any]] = {}

    def objection(self, name: str, outputs: Outputs) -> str:
        """Why a set is none of the network whose sets were shown before, in one line; empty where it fits: as
        many logits, features and values of each extra, the same head, and logits that are no probabilities.
        (Whether they are the head's is asked of each set by itself: `off_its_head`.)"""
        shapes = {"logits": outputs.logits.shape[1:]}
        if outputs.has_features:
            shapes["features"] = outputs.features.shape[1:]
        shapes |= {f"extras {key!r}": t.shape[1:] for key, t in outputs.extras.items()}
        for what, shape in shapes.items():
            of, due = self._first.setdefault(what, (name, shape))
            if shape != due:
                return f"{what} have the shape {_rows_of(shape)}, but {_rows_of(due)} in {of}"
        if are_probabilities(outputs.logits):
            return "logits are probabilities; give log p or logits"
        return "" if outputs.head is None else self._of_head(name, outputs.head)

    def _of_head(self, name: str, head: Head) -> str:
        if not all(bool(torch.isfinite(t).all()) for t in head):
            return "head.weight or head.bias is not finite"
        of, due = self._first.setdefault("head", (name, head))
        if not all(torch.equal(mine.cpu(), other.cpu()) for mine, other in zip(head, due, strict=True)):
            return f"the head is another one than in {of}; give the head of one network"
        return ""


def _rows_of(shape: torch.Size) -> str:
    return f"(N, {', '.join(map(str, shape))})" if shape else "(N,)"


def off_its_head(outputs: Outputs) -> str:
    """Whether the logits of a set are those of its head, in one line what they are off; empty where they are,
    or where there is no head or are no features to tell."""
    if outputs.head is None or not outputs.has_features:
        return ""
    step = -(-max(len(outputs), 1) // _ROWS)
    return not_of_head(outputs.logits[::step], outputs.features[::step], outputs.head)


def not_of_head(logits: Tensor, features: Tensor, head: Head) -> str:
    """Whether logits (N, C) are features (N, D) @ head.weight.T + head.bias, in one line what they are off;
    empty where they are.

    Rounding features, weights and logits to a relative precision u moves a logit by at most u (2 sum_d |f_d
    w_d| + |b| + |z|); twice that is allowed. u is half precision's 2^-11, since a network may have run in it,
    or 2^-8 where the values are bfloat16's.

    Example:
        >>> from oodbench.scoring.one_network import not_of_head
        >>> head, features = oodbench.Head(torch.eye(2), torch.zeros(2)), torch.tensor([[1.0, 2.0]])
        >>> not_of_head(head(features).half().float(), features, head)
        ''
        >>> not_of_head(head(features) + 1, features, head)[:56]
        'logits are not features @ head.weight.T + head.bias: the'
    """
    known = torch.isfinite(logits).all(dim=1) & torch.isfinite(features).all(dim=1)
    z, f, weight, bias = (t.cpu().double() for t in (logits[known], features[known], *head))
    if not len(z):
        return ""
    off = (z - f @ weight.T - bias).abs()
    rounded = any(bool((t.bfloat16() == t).all()) for t in (logits, features))
    size = f.abs() @ weight.abs().T + bias.abs() + z.abs()
    allowed = 4 * (2.0**-8 if rounded else 2.0**-11) * size
    worst = int((off - allowed).argmax())
    if bool((off <= allowed).all()):
        return ""
    most, explained = float(off.flatten()[worst]), float(allowed.flatten()[worst])
    return (
        f"logits are not features @ head.weight.T + head.bias: they are off by {most:.3g}, where rounding"
        f" explains {explained:.2g}; give the head that made them, or none where it is not linear"
    )
