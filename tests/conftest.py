"""Shared by all tests: small real suites that run in seconds, and one thread, so that numbers do not depend
on the machine's load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from oodbench.core import registry

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
"""Facts and reference data that lie beside a developer's checkout, never in a user's clone."""


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes are not part of a test's name: what is packed holds the time, and processes that collect in
    different seconds would not agree on the names, so that no test runs at all."""
    return "bytes" if isinstance(val, bytes) else None


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("reference data are not beside this checkout")
    return SHARED


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    """Components that a test registers (plugins, local classes) are gone after it."""
    with registry.isolated():
        yield


TINY = """\
name: tiny
pairs: [digits]
networks: [{mlp: {hidden: [16]}}]
methods: [cross-entropy]
scorers: [msp, {knn: {k: 5}}]
recipe: {epochs: 2, batch_size: 128, lr: 0.05}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A suite file that trains one small network in a second."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file
