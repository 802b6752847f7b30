"""What runs in a job of Slurm's."""

from __future__ import annotations

import importlib
import operator
import signal
from typing import Any


class _Ended(BaseException):
    """Slurm ends this job soon. No error of a job's own: whoever catches those must not catch it."""


def work(module: str, name: str, args: tuple[Any, ...]) -> tuple[bool, Any]:
    """Call a function: (True, what it gave), or (False, why there is nothing). Where Slurm says that it will
    end the job (its time is over, or others come first), that is answered at once."""
    signal.signal(signal.SIGUSR2, _end)
    try:
        return True, operator.attrgetter(name)(importlib.import_module(module))(*args)
    except _Ended:
        return False, "Slurm ended the job: its time was over, or another one came first"
    except BaseException as error:
        return False, f"{type(error).__name__}: {error}"


def _end(*_: object) -> None:
    raise _Ended
