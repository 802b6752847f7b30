"""Two processes that work together, as torchrun would start them, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from oodbench.training.processes import Team, join, together
from tests.conftest import ROOT


def two_processes(module: str, call: str, timeout: float = 480) -> list[tuple[int, str]]:
    """Exit status and error output of two processes that call a function of a module, started with the
    environment that torchrun gives them; loopback only."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    common = os.environ | {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    code = f"import {module} as module; from pathlib import Path; module.{call}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=common | {"RANK": str(i), "LOCAL_RANK": str(i)}, cwd=ROOT,
            stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=timeout)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, told) for process, told in zip(started, errors, strict=True)]


def save_found(found: Callable[[Team], Any], folder: Path) -> None:
    """What each of the processes does between joining and leaving; what it found is saved for `found_by`."""
    torch.set_num_threads(1)
    with together():
        team, _ = join("cpu")
        assert team.size == 2
        torch.save(found(team), folder / f"{team.rank}.pt")
    assert not torch.distributed.is_initialized()


def found_by(module: str, folder: Path) -> list[Any]:
    """What two processes found that called `work(folder)` of a module."""
    for status, errors in two_processes(module, f"work(Path({str(folder)!r}))"):
        assert status == 0, errors
    return [torch.load(folder / f"{i}.pt") for i in range(2)]
