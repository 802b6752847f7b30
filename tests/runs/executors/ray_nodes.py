"""Nodes of Ray for the scripts that `alone` runs: each is a `ray start`, with a host name of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PORT = 6391
ADDRESS = f"127.0.0.1:{PORT}"


def node(
    name: str, *options: str, environment: Mapping[str, str] | None = None,
    instead: Mapping[Path, Path] | None = None,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start a node that runs until its process group is ended. `instead`: files that it sees in place of
    others."""
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
    sizes = [f"--object-store-memory={100 * 2**20}"]
    binds = "".join(f"mount --bind '{new}' '{old}' && " for old, new in (instead or {}).items())
    log = tempfile.TemporaryFile()  # noqa: SIM115
    start = f'hostname {name} && {binds}exec "$@"'
    return subprocess.Popen(
        ["unshare", "--uts", "--mount", "sh", "-c", start, "sh", *ray, *sizes, *options],
        env=os.environ | dict(environment or {}), stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip


def head(**options: Any) -> subprocess.Popen[bytes]:
    return node("first", "--head", f"--port={PORT}", "--include-dashboard=false", "--num-cpus=1", **options)


def joined(name: str, *options: str, **more: Any) -> subprocess.Popen[bytes]:
    return node(name, f"--address={ADDRESS}", *options, **more)


def end(process: subprocess.Popen[bytes]) -> None:
    """As a machine that loses its power."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def listening(seconds: float = 60) -> None:
    """Wait until the head takes connections."""
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", PORT)).close()
        except OSError:
            assert time.monotonic() < end, "the head was not started"
            time.sleep(0.1)


def hosts(count: int, seconds: float = 60) -> set[str]:
    """The names of the nodes that are alive, once there are so many."""
    import ray

    end = time.monotonic() + seconds
    while True:
        found = {n["NodeManagerHostname"] for n in ray.nodes() if n["Alive"]}
        if len(found) == count:
            return found
        assert time.monotonic() < end, f"{found} and not {count} nodes are alive"
        time.sleep(0.2)


def alive(count: int) -> set[str]:
    """`hosts`, by a connection of its own."""
    import ray

    ray.init(ADDRESS, log_to_driver=False, logging_level="ERROR")
    found = hosts(count)
    ray.shutdown()
    return found
