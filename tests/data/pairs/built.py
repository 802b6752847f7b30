"""Pairs by name."""

from __future__ import annotations

from oodbench.core import registry
from oodbench.core.dataset import Pair
from tests.conftest import ROOT

SUITES = ROOT / "suites"


def pair_of(name: str, **params: object) -> Pair:
    return registry.build("pair", {name: params})
