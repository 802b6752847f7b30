"""Jobs for the tests of the engines: functions of a module, as an engine asks for them."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path


def double(x: int) -> int:
    return 2 * x


def where() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


def card() -> tuple[int, str | None]:
    """This process, and the GPU that it is given."""
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


def threads() -> tuple[str | None, bool]:
    """What is said to the libraries, and whether this is said before torch is there."""
    return os.environ.get("OMP_NUM_THREADS"), "torch" in sys.modules


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code: int) -> None:
    print("last words", file=sys.stderr, flush=True)
    os._exit(code)


def chatter() -> str:
    print("what a library says")
    os.write(1, b"and what one in C says\n")
    return "said"


def fail(text: str) -> None:
    raise ValueError(text)


def unsendable() -> object:
    return lambda: None


def hold(folder: str, name: str, seconds: float = 60.0) -> str:
    """Say where this runs in a file `name`, then wait until there is a file ``go``, or for so long."""
    place = Path(folder)
    draft = place / f"{name}.tmp"
    draft.write_text(f"{socket.gethostname()} {os.getpid()}")
    draft.replace(place / name)
    end = time.monotonic() + seconds
    while not (place / "go").exists() and time.monotonic() < end:
        time.sleep(0.01)
    return name


def said(folder: Path, name: str, seconds: float = 60.0) -> tuple[str, int]:
    """Wait for what `hold` says: host and process."""
    end = time.monotonic() + seconds
    while not (folder / name).exists():
        assert time.monotonic() < end, f"{name} was not begun"
        time.sleep(0.01)
    host, pid = (folder / name).read_text().split()
    return host, int(pid)


def catch_all(folder: str, name: str) -> str:
    try:
        return hold(folder, name)
    except Exception:
        return "a failed row"
