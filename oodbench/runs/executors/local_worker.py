"""A process that does jobs for another one of its machine, which starts it with `main`.

It is asked on its standard input: the length of a message, 8 bytes, and a pickled (function, arguments).
It answers on its standard output, pickled: (True, what the function gave), or (False, why there is none).
It ends when its input does, in the middle of a job too: then nobody waits for the answer."""

from __future__ import annotations

import os
import pickle
import queue
import struct
import sys
import threading
from typing import BinaryIO

from oodbench.core.errors import one_line


def main() -> None:
    """Serve standard input and output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    jobs: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    at_work = threading.Event()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, jobs, at_work), daemon=True).start()
    while (job := jobs.get()) is not None:
        at_work.set()
        answer = _answer(job)
        at_work.clear()
        try:
            answers.write(answer)
            answers.flush()
        except BrokenPipeError:
            os._exit(1)


def _listen(asked: BinaryIO, jobs: queue.SimpleQueue[bytes | None], at_work: threading.Event) -> None:
    """Take jobs as they come. The end of the input is seen at once here, whatever the other thread does."""
    while len(head := asked.read(8)) == 8:
        jobs.put(asked.read(struct.unpack("<Q", head)[0]))
    if at_work.is_set():
        os._exit(1)
    jobs.put(None)


def _answer(job: bytes) -> bytes:
    try:
        function, args = pickle.loads(job)
        return pickle.dumps((True, function(*args)))
    except BaseException as error:  # a job answers for itself: what comes here is no result of it
        return pickle.dumps((False, f"{type(error).__name__}: {one_line(error)}"))
