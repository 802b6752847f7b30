"""What a training in progress saves, and takes up again bit for bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from oodbench.core.network import Network
from oodbench.training.optimiser import Average

State = tuple[dict[str, Tensor], dict[str, Any]]
"""A training in progress: tensors by name, and JSON-able scalars."""


_Best = tuple[float, dict[str, Tensor]] | None


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


def _state(
    network: Network,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Average | None,
    history: list[dict[str, float]],
    best: _Best,
) -> State:
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{k}": v for k, v in values.items() if isinstance(v, Tensor)}
    if average is not None:
        tensors |= {f"average.{k}": v for k, v in average.values.items()}
    if best is not None:
        tensors |= {f"best.{k}": v for k, v in best[1].items()}
    return tensors, {
        "history": history,
        "best": None if best is None else best[0],
        "scaler": scaler.state_dict(),
    }


def _restore(
    state: State,
    network: Network,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Average | None,
) -> tuple[list[dict[str, float]], _Best]:
    tensors, scalars = state
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "average": {}}
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, rest = name.split(".", 1)
        if kind == "optimizer":
            number, key = rest.split(".", 1)
            slots.setdefault(int(number), {})[key] = tensor
        else:
            groups[kind][rest] = tensor
    network.load_state_dict(groups["network"])
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    if scaler.is_enabled():
        scaler.load_state_dict(scalars["scaler"])
    if average is not None:
        for name, value in average.values.items():
            value.copy_(groups["average"][name])
    best = None if scalars["best"] is None else (float(scalars["best"]), groups["best"])
    return list(scalars["history"]), best
