"""Toy outputs, and the scorers that read nothing else."""

from __future__ import annotations

from oodbench.core import registry
from oodbench.core.scorer import Scorer
from oodbench.scoring.contract import toy_outputs

TRAIN, VAL = toy_outputs(300, seed=1), toy_outputs(90, seed=2)


SETS = {"test": toy_outputs(150, seed=3), "other": toy_outputs(70, ood=True, seed=4)}


def plain_scorers() -> list[str]:
    found = []
    for name in registry.scorers:
        if all(default != "required" for _, _, default in registry.scorers[name].signature):
            made: Scorer = registry.build("scorer", name)
            if made.view() is None and not made.extras:
                found.append(name)
    return found
