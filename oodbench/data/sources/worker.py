"""A process that decodes image files for another one, which starts it with `main`.

It is asked on its standard input, by a pickled (files, color, geometry), and answers on its standard output:
for each file in turn a ``+`` and the pixels, uint8 (C, H, W), or a ``-`` and the pickled line that says why
not. It ends when its input does."""

from __future__ import annotations

import os
import pickle
import sys
from typing import BinaryIO

import numpy as np

from oodbench.core.errors import one_line
from oodbench.data.sources.decoding import as_seen

PIXELS, REASON = b"+", b"-"


def serve(asked: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there is nothing more."""
    while True:
        try:
            files, color, geometry = pickle.load(asked)
        except EOFError:
            return
        for file in files:
            try:
                image = np.ascontiguousarray(as_seen(file, color, geometry))
            except Exception as error:  # Pillow raises half a dozen types for damaged files
                answers.write(REASON)
                pickle.dump(one_line(error), answers)
            else:
                answers.write(PIXELS)
                answers.write(image.data)
        answers.flush()


def main() -> None:
    """Serve standard input and output."""
    import torch

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "wb", buffering=2**20)
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    try:
        serve(sys.stdin.buffer, answers)
    except BrokenPipeError:  # who asked is gone
        os._exit(0)
