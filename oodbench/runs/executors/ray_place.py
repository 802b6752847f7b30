"""What runs on the nodes of a Ray cluster. Ray gets this file by value, so that a node without the package
can say so."""

from __future__ import annotations

from typing import Any


def importable() -> str:
    """Why the package cannot be imported on this node; empty where it can."""
    try:
        import oodbench.runs.executors.contract  # noqa: F401
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Place:
    """A process with the CPUs and GPUs of one run, which does one job after the other. It ends with the
    process of its node that started it, in the middle of a job too (Ray lets it go on, measured)."""

    def __init__(self) -> None:
        import threading

        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        import os
        import time

        starter = os.getppid()
        while os.getppid() == starter:
            time.sleep(1)
        os._exit(1)

    def ready(self) -> tuple[str, str, str, str]:
        """The node, its machine as answers name it and as people do, and why no job can be done here (empty:
        it can)."""
        import socket

        import ray

        node, host = ray.get_runtime_context().get_node_id(), socket.gethostname()
        try:
            from oodbench.runs.drafts import me
        except Exception as error:
            return node, "", host, f"{type(error).__name__}: {error}"
        return node, me()["host"], host, ""

    def work(self, module: str, name: str, args: tuple[Any, ...]) -> tuple[bool, Any]:
        """Call a function: (True, what it gave), or (False, why there is nothing)."""
        import importlib
        import operator

        try:
            return True, operator.attrgetter(name)(importlib.import_module(module))(*args)
        except BaseException as error:
            return False, f"{type(error).__name__}: {error}"
