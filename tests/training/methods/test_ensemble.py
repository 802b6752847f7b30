"""An ensemble is the networks that its method would train alone, from seeds of their own."""

from __future__ import annotations

import pytest

from oodbench.core import registry
from oodbench.core.errors import SpecError
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan


def test_members_are_single_runs_of_consecutive_seeds() -> None:
    """Member i of the ensemble with seed s has the seed 3 s + i: its weights are stored once for both."""
    suite = parse_suite({
        "name": "several", "pairs": ["digits"], "networks": ["mlp"], "scorers": ["msp"],
        "methods": [{"ensemble": {"of": {"als": {"lam": 2}}, "members": 3}}, {"als": {"lam": 2}}],
        "seeds": [0, 1, 2, 3, 4, 5],
    })  # fmt: skip
    runs = make_plan(suite).runs
    alone = {run.seed: run.key for run in runs if run.method.spec.name == "als"}
    ensembles = {run.seed: [m.key for m in run.members] for run in runs if run.method.spec.name == "ensemble"}
    assert ensembles[0] == [alone[0], alone[1], alone[2]]
    assert ensembles[1] == [alone[3], alone[4], alone[5]]
    assert len({key for keys in ensembles.values() for key in keys}) == 18


def test_one_network_is_no_ensemble() -> None:
    assert registry.build("method", "ensemble").members == 5
    with pytest.raises(SpecError, match=r"ensemble\.members: .*greater than or equal to 2"):
        registry.build("method", {"ensemble": {"members": 1}})
