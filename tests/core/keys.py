"""Keys of components."""

from __future__ import annotations

from typing import Any

from oodbench.core import registry
from oodbench.core.identity import fingerprint


def key(kind: str, raw: Any) -> str:
    """What a component's artefacts are found by."""
    return fingerprint(registry.resolve(kind, raw).identity)
