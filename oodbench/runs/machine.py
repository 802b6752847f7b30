"""The machine a run was made on: its device, its versions."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import oodbench
from oodbench.core.errors import UserError


def pick_device(name: str) -> str:
    """``auto`` is cuda or mps where there is one, else cpu; anything else must be there."""
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if name == "auto":
        return next(d for d in ("cuda", "mps", "cpu") if counts[d])
    with contextlib.suppress(RuntimeError):  # torch's own word for a name that it cannot read
        device = torch.device(name)
        if (device.index or 0) < counts.get(device.type, 0):
            return name
    available = ", ".join(d for d, n in counts.items() if n)
    raise UserError(f"--device {name}: not available here; available: {available}")


def provenance(device: str) -> dict[str, Any]:
    """Where and with what an artefact was made: for people, never part of a key."""
    commit = ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        root = Path(oodbench.__file__).parent
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        ).stdout.strip()
    return {
        "oodbench": oodbench.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),  # asked for without the import, which takes two seconds
        "numpy": version("numpy"),
        "matplotlib": version("matplotlib"),  # draws the pictures
        "device": f"{device} ({torch.cuda.get_device_name()})" if device.startswith("cuda") else device,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "commit": commit,
    }
