"""A process that decodes image files for another one, which starts it with `main`.

It is asked on its standard input, by a pickled (sources, color, geometry), and answers on its standard
output: for each file in turn a ``+`` and the pixels, uint8 (C, H, W), or a ``-`` and the pickled line that
says why not; before either there may be a ``!`` and the pickled line of a warning. It ends when its input
does."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from typing import BinaryIO

import numpy as np

from oodbench.core.errors import one_line
from oodbench.data.sources import local_copy
from oodbench.data.sources.decoding import shaped

PIXELS, REASON, WARNING = b"+", b"-", b"!"


def serve(asked: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there is nothing more."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", local_copy.NoCopy)
        while True:
            try:
                sources, color, geometry = pickle.load(asked)
            except EOFError:
                return
            for source in sources:
                try:
                    image = np.ascontiguousarray(shaped(local_copy.pixels(source, color), geometry))
                except Exception as error:  # Pillow raises half a dozen types for damaged files
                    answer = [REASON, pickle.dumps(one_line(error))]
                else:
                    answer = [PIXELS, image.tobytes()]
                for warning in said:
                    answers.write(WARNING + pickle.dumps(str(warning.message)))
                said.clear()
                answers.writelines(answer)
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
