"""``oodbench list suites``: what each suite of the package asks for, and which data it needs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oodbench.core.spec import Spec
    from oodbench.suite.suite import Suite


def describe() -> list[dict[str, Any]]:
    """Every suite of the package: its name, what its file says at the top, how much it asks, its data sets
    (those that lie on a disk or are made; outliers apart, since not every run needs them)."""
    from oodbench.suite import load, packaged

    found = []
    for name in packaged.names():
        file = packaged.find(packaged.folder() / f"{name}.yaml")
        suite = load.load_suite(file)
        sizes = {k: len(getattr(suite, k)) for k in ("pairs", "networks", "methods", "seeds", "scorers")}
        data, outliers = _data(suite)
        found.append({"name": name, "summary": _head(file), **sizes, "data": data, "outliers": outliers})
    return found


def to_lines(suites: Sequence[Mapping[str, Any]]) -> list[str]:
    """The listing for people."""
    lines = [f"suites ({len(suites)})"]
    for s in suites:
        lines.append(f"  {s['name']}")
        counts = (
            f"asks: {_many(s['pairs'], 'pair')} x {_many(s['networks'], 'network')} x"
            f" {_many(s['methods'], 'method')} x {_many(s['seeds'], 'seed')}, {_many(s['scorers'], 'scorer')}"
        )
        data = "data: " + ", ".join(s["data"])
        if s["outliers"]:
            data += f"; as outliers: {', '.join(s['outliers'])}"
        for text in (s["summary"], counts, data):
            lines += textwrap.wrap(text, 110, initial_indent="      ", subsequent_indent="      ")
    return lines


def _many(n: int, noun: str) -> str:
    return f"{n} {noun}" + "s" * (n != 1)


def _head(file: Path) -> str:
    """The comment at the top of a suite file, in one line."""
    words = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words.append(line.lstrip("# "))
    return " ".join(words)


def _data(suite: Suite) -> tuple[list[str], list[str]]:
    """The data sets that the pairs come down to, and those that serve as outliers alone."""
    from oodbench.data import needs

    found = needs.of_leaves([need for entry in suite.pairs for need in needs.of_pair(entry.pair)])
    tested = {_short(n.spec) for n in found if n.role != "outliers"}
    return sorted(tested), sorted({_short(n.spec) for n in found} - tested)


def _short(spec: Spec) -> str:
    """A data set's name; of a set in another's folder (OpenOOD's), that of the set too."""
    inner = spec.params.get("name")
    return f"{spec.name}/{inner}" if inner else spec.name
