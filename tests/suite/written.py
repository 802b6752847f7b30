"""Suites as their files write them, with changes, and the lines that a wrong one is refused with."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from oodbench.core.errors import UserError
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.run import Run
from tests.conftest import ROOT, TINY

SUITES = ROOT / "suites"
FAMILY: dict[str, Any] = {
    "name": "family", "networks": [{"mlp": {"hidden": [8]}}], "scorers": ["msp"],
    "recipe": {"epochs": 1, "lr": 0.05},
    "pairs": [{"name": "two", "id": {"digits": {"classes": [0, 1, 2, 3]}},
    "near": [{"digits": {"classes": [6, 7]}}]}],
    "methods": ["cross-entropy"],
}  # fmt: skip
"""Two pairs of digits against four, trained in a moment."""


def written(**changes: Any) -> dict[str, Any]:
    """The tiny suite with other keys; None leaves a key out."""
    return {k: v for k, v in (yaml.safe_load(TINY) | changes).items() if v is not None}


def mistakes(raw: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse_suite(raw)
    return str(caught.value).splitlines()


FOUR = {"digits": {"classes": [0, 1, 2, 3]}}
SHIFTED = {
    "name": "three", "id": FOUR, "near": [{"digits": {"classes": [6, 7]}}], "far": ["photo-patches"],
    "shifted": {"again": FOUR},
}  # fmt: skip
"""A pair with a covariate-shifted set (the same images, which is all that a plan looks at)."""


def runs_of(**changes: Any) -> list[Run]:
    """What is planned of FAMILY with other keys."""
    return list(make_plan(parse_suite(FAMILY | changes)).runs)
