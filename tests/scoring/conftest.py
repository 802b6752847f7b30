"""A small network that knows the toy images."""

from __future__ import annotations

import pytest

from oodbench.core.network import Network
from oodbench.training.contract import toy_network


@pytest.fixture(scope="module")
def network() -> Network:
    return toy_network()
