"""Joining a Ray cluster, or starting one on this machine: what may go wrong, in one line each."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from oodbench.core.errors import UserError, one_line, shown
from oodbench.data.sources.roots import cpus
from oodbench.runs.executors import ray_place

ANSWER = 10
"""Seconds in which a cluster has to answer."""
_LOCAL_MEMORY = 512 * 2**20
"""Bytes that a cluster of this machine keeps for answers on their way."""
_SETTINGS: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


def join(address: str) -> tuple[Any, bool]:
    """Ray, connected to the cluster at `address`, and whether the connection was made here. ``local`` starts
    a cluster of this machine, never joins one; it ends with this process. Where the program is connected
    already, that connection is used.

    Raises UserError: no such library, address, cluster or token; no answer in `ANSWER` seconds."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("--ray: the library ray is not here; pip install 'oodbench[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address != "local":  # before the import; `ray.init` itself would try for minutes
        _ask(_host_and_port(address))
    import ray

    if ray.is_initialized():
        return ray, False
    try:
        if address == "local":
            size: dict[str, Any] = {"num_cpus": cpus(), "object_store_memory": _LOCAL_MEMORY}
            ray.init(address="local", include_dashboard=False, **size, **_SETTINGS)
        else:
            ray.init(address=address, **_SETTINGS)
    except Exception as error:  # Ray raises all sorts, some with pages of text
        raise UserError(f"--ray {address}: {_told(str(error)) or type(error).__name__}") from None
    with contextlib.suppress(AttributeError):
        # it prints on standard output, which carries results, that a worker died: the answer says so too
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
    return ray, True


def _host_and_port(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^\s:/\[\]]+)):(\d{1,5})", address)
    if not found or not 0 < int(found[3]) < 65536:
        raise UserError(
            f"--ray: {shown(address)} is no address; give HOST:PORT as `ray start --head` shows it (the port"
            " is 6379 if none was chosen), or local for a cluster of this machine alone"
        )
    return found[1] or found[2], int(found[3])


def _ask(place: tuple[str, int]) -> None:
    """See that a cluster answers there, in a process of its own, which can be ended. Where it wants a token
    and no mode was chosen, the token of this user is shown to it, as `ray.init` does for local clusters."""
    address = f"[{place[0]}]:{place[1]}" if ":" in place[0] else f"{place[0]}:{place[1]}"
    try:
        socket.create_connection(place, timeout=ANSWER).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(f"--ray {address}: no answer ({one_line(why)}); is the cluster up?") from None
    said = _status(address, os.environ)
    if said == _NO_TOKEN and "RAY_AUTH_MODE" not in os.environ:
        said = _status(address, os.environ | {"RAY_AUTH_MODE": "token"})
        if not said:
            os.environ["RAY_AUTH_MODE"] = "token"
            if "ray" in sys.modules:  # it has read its settings; so it does itself for a cluster of its own
                sys.modules["ray"]._raylet.Config.initialize("")
    if said == _NO_TOKEN:
        raise UserError(
            f"--ray {address}: the cluster does not take this user's token; set RAY_AUTH_MODE=token, and"
            " RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token that it was started with"
        )
    if said:
        raise UserError(f"--ray {address}: no Ray cluster answers there ({said})")


_NO_TOKEN = "the token is not taken"


_QUESTION = (
    "import signal, sys; from ray.scripts.scripts import main; signal.alarm(int(sys.argv.pop())); main()"
)
"""``ray status``, whose time begins when Ray is imported: on a busy machine that takes a while."""


def _status(address: str, environment: Mapping[str, str]) -> str:
    """Empty where a cluster answers ``ray status``; else why not."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        asked = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _QUESTION, "status", "--address", address, str(ANSWER)],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=6 * ANSWER,
        )  # fmt: skip
        if asked.returncode == 0:
            return ""
        if "Unauthenticated" in asked.stderr or "AuthenticationError" in asked.stderr:
            return _NO_TOKEN
        if asked.returncode > 0:
            return _told(asked.stderr) or f"exit code {asked.returncode}"
    return f"nothing within {ANSWER} seconds"


def _told(text: str) -> str:
    """The last of what Ray says that is more than a place in its code."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith((" ", "["))]
    return one_line(lines[-1], 300) if lines else ""


def places_on(node: Mapping[str, Any], threads: int, gpus: float) -> int:
    """How many runs a node of ``ray.nodes()`` can hold at once."""
    resources = node["Resources"] if node["Alive"] else {}
    by_cpu = int(resources.get("CPU", 0) // threads)
    if not gpus:
        return by_cpu
    cards = int(resources.get("GPU", 0))
    return min(by_cpu, int(cards // gpus) if gpus >= 1 else cards * int(1 / gpus + 1e-9))


def check_package(ray: Any, nodes: list[Mapping[str, Any]]) -> None:
    """Raise UserError where a node cannot import the package. A node that does not answer is not waited
    for."""
    ask = ray.remote(num_cpus=0, max_retries=0)(ray_place.importable)
    near = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    asked = {
        ask.options(scheduling_strategy=near(node["NodeID"], soft=False)).remote(): node for node in nodes
    }
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=6 * ANSWER)
    wrong = []
    for ref in answered:
        try:
            reason = ray.get(ref)
        except ray.exceptions.RayError:
            continue  # a node that goes away just now
        if reason:
            node = asked[ref]
            wrong.append(f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}): {reason}")
    if wrong:
        raise UserError(
            f"--ray: the package oodbench cannot be imported on {one_line('; '.join(sorted(wrong)), 1000)};"
            " install it on every node"
        )
