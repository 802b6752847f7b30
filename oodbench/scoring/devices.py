"""Where tensors lie, and moving them there."""

from __future__ import annotations

import copy
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from oodbench.core.spec import Spec


def on_device(value: Any, device: torch.device, moved: dict[int, Any]) -> Any:
    """What a fitted scorer holds, with every tensor on `device`; what was there already is not copied, and
    what is shared stays shared."""
    if id(value) in moved:
        return moved[id(value)]
    new = value
    if isinstance(value, Tensor):
        new = value.to(device)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        new = type(value)(*(on_device(v, device, moved) for v in value))
    elif isinstance(value, (list, tuple)):
        new = type(value)(on_device(v, device, moved) for v in value)
    elif isinstance(value, dict):
        new = {k: on_device(v, device, moved) for k, v in value.items()}
    elif callable(getattr(value, "to", None)):
        new = value.to(device)
    elif hasattr(value, "__dict__") and not isinstance(value, (type, ModuleType, FunctionType, Spec)):
        moved[id(value)] = value  # for what refers back to it
        attributes = {k: on_device(v, device, moved) for k, v in vars(value).items()}
        if any(attributes[k] is not v for k, v in vars(value).items()):
            new = copy.copy(value)
            vars(new).update(attributes)
    if isinstance(new, (list, tuple, dict)) and _same(new, value):
        new = value
    moved[id(value)] = new
    return new


def _same(new: Any, old: Any) -> bool:
    pairs = (
        zip(new.values(), old.values(), strict=True) if isinstance(new, dict) else zip(new, old, strict=True)
    )
    return all(a is b for a, b in pairs)
