"""Components as text: what `oodbench list` prints."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from oodbench.core import registry
from oodbench.core.scorer import Scorer


def describe(kind: str) -> list[dict[str, Any]]:
    """Every component of a kind: name, parameters, one line, source, and for scorers what they need and their search space."""
    found = []
    for name in registry.registry(kind):
        c = registry.registry(kind)[name]
        entry: dict[str, Any] = {
            "name": name, "summary": c.summary, "source": c.source, "version": c.version,
            "parameters": [{"name": n, "type": t, "default": d} for n, t, d in c.signature],
        }  # fmt: skip
        if kind == "scorer" and inspect.isclass(c.target) and issubclass(c.target, Scorer):
            needs = c.target.needs
            entry["needs"] = sorted(needs) if isinstance(needs, frozenset) else "depends on its parameters"
            entry["search"] = {k: list(v) for k, v in c.target.search.items()}
        found.append(entry)
    return found


def to_lines(kind: str, components: Sequence[Mapping[str, Any]]) -> list[str]:
    """The listing for people."""
    lines = [f"{kind} ({len(components)})"]
    for c in components:
        parameters = ", ".join(
            f"{p['name']}: {p['type']}" + ("" if p["default"] == "required" else f" = {p['default']}")
            for p in c["parameters"]
        )
        lines.append(f"  {c['name']}" + (f"  ({parameters})" if parameters else ""))
        lines += textwrap.wrap(c["summary"], 110, initial_indent="      ", subsequent_indent="      ")
        if c.get("needs"):
            needs = c["needs"] if isinstance(c["needs"], str) else ", ".join(c["needs"])
            lines.append(f"      needs: {needs}")
        if c.get("search"):
            lines.append("      search: " + "; ".join(f"{k} in {v}" for k, v in c["search"].items()))
        if c["source"]:
            lines += textwrap.wrap(f"source: {c['source']}", 110, initial_indent="      ", subsequent_indent="      ")
    return lines
