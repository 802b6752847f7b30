"""A network that the user wrote."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from oodbench.core.errors import ANYTHING, UserError, reason_of
from oodbench.core.network import Input, Network, Task
from oodbench.core.registry import network
from oodbench.core.usercode import Code
from oodbench.training.own_input import read_input
from oodbench.training.splitting import split


def _says(params: Mapping[str, Any]) -> Input | None:
    return read_input(getattr(params["target"].target, "input", None), _who(params["target"]))


def _who(target: Code) -> str:
    return f"network 'module' ({target.rpartition('/')[2]})"


@network("module", source="a user's own code", version=2, own_input=_says)
def from_module(task: Task, *, target: Code, options: dict[str, Any] = {}) -> Network:  # noqa: B006
    """A user's own nn.Module: `target` ("pkg.mod:factory", "file.py:Class") is called with `options`, and
    `task` if it takes that.

    The sha256 of the file that defines it is part of the identity. Its logits must be those of an nn.Linear,
    which becomes the head. An attribute `input` of the function or class (an `oodbench.Input`, or a mapping
    of its fields) says what its weights were trained on: mean, std, and sizes for ``input: auto``."""
    who = _who(target).removeprefix("network ")
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
