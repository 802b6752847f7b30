"""What carries out jobs: one small contract for this process, for several, and for clusters."""

from __future__ import annotations

import concurrent.futures as futures
from collections.abc import Callable
from typing import Any, Protocol


class Lost(Exception):
    """The engine lost a job, or could not begin it: a worker or a machine is gone. The reason is its text."""


class Executor(Protocol):
    """Carries out jobs. A function and its arguments are plain things that can be pickled; so is what it
    returns. The function answers what went wrong in the job itself; what a future raises is `Lost`."""

    name: str
    """For people: ``2 local processes``, ``Ray at 10.0.0.1:6379``."""
    capacity: int | None
    """How many jobs run at once; None where that may grow."""

    def submit(self, function: Callable[..., Any], *args: Any) -> futures.Future[Any]:
        """Begin a job as soon as there is a place for it. UserError where nothing can be begun any more."""
        ...

    def avoid(self, host: str) -> bool:
        """Give no more jobs to a machine, which refuses them; False where no other one is left."""
        ...

    def close(self, now: bool = False) -> None:
        """End what was started here; with `now` the jobs in hand too, whose results nobody waits for."""
        ...
