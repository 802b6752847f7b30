"""This process, one job after the other."""

from __future__ import annotations

import concurrent.futures as futures
from collections.abc import Callable
from typing import Any


class Here:
    """Carries out each job when it is submitted."""

    name = "this process"
    capacity: int | None = 1

    def submit(self, function: Callable[..., Any], *args: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # told where the result is asked for; an interruption ends all
            future.set_exception(error)
        return future

    def avoid(self, host: str) -> bool:
        return False

    def close(self, now: bool = False) -> None:
        pass
