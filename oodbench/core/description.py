"""How a component is described before it is known to be right."""

from __future__ import annotations

from typing import Any

SpecLike = Any
"""A component as a suite file writes it: its name, or ``{name: {parameter: value}}`` (or a `spec.Spec`,
already resolved)."""
