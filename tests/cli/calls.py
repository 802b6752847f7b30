"""The command line as a user calls it, in this process."""

from __future__ import annotations

from oodbench.cli.main import main

SCORER = """
import oodbench
@oodbench.scorer("neg-max", source="mine")
class NegMax(oodbench.Scorer):
    "Negative maximal logit, in twelve lines."
    def score(self, outputs):
        return -outputs.logits.amax(dim=1)
"""
"""A file with a component of a user's own."""


def call(*args: object) -> int:
    """The exit status of ``oodbench ARGS...``."""
    try:
        main([str(a) for a in args])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0
