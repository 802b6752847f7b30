"""Outputs of a network's stages, and a network run on from one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from oodbench.core.network import Network


def stage_outputs(
    network: Network, inputs: Tensor, stages: Sequence[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (B, C) of inputs in [0, 1], and what each named stage hands on, (B, C', ...)."""
    found: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: found.__setitem__(name, out)
        )
        for name in stages
    ]
    try:
        return network(inputs), found
    finally:
        for hook in hooks:
            hook.remove()


def with_stage(network: Network, inputs: Tensor, stage: str, edit: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits (B, C) of inputs in [0, 1] through the network whose stage hands on `edit` of its output."""
    hook = network.get_submodule(stage).register_forward_hook(lambda _m, _i, out: edit(out))
    try:
        return network(inputs)
    finally:
        hook.remove()


def stage_objection(network: Network, stages: Sequence[str], dims: int = 2) -> str:
    """Why stages cannot be read (the network names none, or not these, or one hands on fewer dimensions);
    empty where they can."""
    if not network.stages:
        return "needs the network's stages, and it names none"
    unknown = [name for name in stages if name not in network.stages]
    if unknown:
        return f"stage {unknown[0]!r} is not one of the network's: {', '.join(network.stages)}"
    was, place = network.training, next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            _, found = stage_outputs(
                network.eval(), torch.zeros(1, *network.task.shape, device=place), network.stages
            )
    finally:
        network.train(was)
    for name in stages or network.stages:
        if name not in found:
            return f"stage {name!r} takes no part in the network's forward pass"
        if not isinstance(found[name], Tensor) or found[name].dim() < dims:
            return (
                f"stage {name!r} hands on {tuple(found[name].shape)[1:]} per sample, and {dims - 1}"
                " dimensions are needed"
            )
    return ""
