"""What a training in progress saves, and takes up again bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from oodbench.training.stepper import Stepper

State = tuple[dict[str, Tensor], dict[str, Any]]
"""A training in progress: tensors by name, and JSON-able scalars."""


@dataclass
class Progress:
    """How far a training is: a record of each epoch, and the best weights so far with their accuracy."""

    history: list[dict[str, float]] = field(default_factory=list)
    best: tuple[float, dict[str, Tensor]] | None = None


def state_of(stepper: Stepper, progress: Progress) -> State:
    """Everything that the rest of the training depends on. The tensors are not copied."""
    tensors = {f"network.{k}": v for k, v in stepper.network.state_dict().items()}
    for number, values in stepper.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{k}": v for k, v in values.items() if isinstance(v, Tensor)}
    if stepper.average is not None:
        tensors |= {f"average.{k}": v for k, v in stepper.average.state_dict().items()}
    if progress.best is not None:
        tensors |= {f"best.{k}": v for k, v in progress.best[1].items()}
    return tensors, {
        "history": progress.history,
        "best": None if progress.best is None else progress.best[0],
        "scaler": stepper.scaler.state_dict(),
    }


def restore(state: State, stepper: Stepper) -> Progress:
    """Put a state into a fresh stepper, and give back how far it was."""
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
    stepper.network.load_state_dict(groups["network"])
    optimizer = stepper.optimizer
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    if stepper.scaler.is_enabled():
        stepper.scaler.load_state_dict(scalars["scaler"])
    if stepper.average is not None:
        stepper.average.load_state_dict(groups["average"])
    best = None if scalars["best"] is None else (float(scalars["best"]), groups["best"])
    return Progress(list(scalars["history"]), best)
