"""The machine a run was made on: its device, its versions."""

from __future__ import annotations

import contextlib
import functools
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import oodbench
from oodbench.core.errors import UserError
from oodbench.core.identity import file_sha256, fingerprint


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


@functools.lru_cache(maxsize=1)
def code() -> str:
    """sha256 (hex) of the package's own source, the same wherever it is installed."""
    root = Path(oodbench.__file__).parent
    files = {f.relative_to(root).as_posix(): file_sha256(f) for f in root.rglob("*.py")}
    return fingerprint(files)


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """While inside, torch and the libraries below numpy and SciPy compute with so many threads; None: with
    as many as they choose. Sums are in another order with another number, so last digits depend on it."""
    if count is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


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
