"""What verification found, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from oodbench.core.errors import UserError
from oodbench.core.names import visible

HOLDS, CONTRADICTED, UNCHECKED = "holds", "contradicted", "cannot be checked here"


TOLERANCE = 1e-7
"""Of a metric made again: ten digits are written, and sums of another machine may differ in the last ones."""


class Finding(NamedTuple):
    """One thing that was looked at: what, how it came out, and why."""

    state: str
    what: str
    why: str


def to_lines(findings: Iterable[Finding]) -> list[str]:
    """One line for each finding."""
    return [visible(f"{f.state}: {f.what}: {f.why}") for f in findings]


def told(what: str, wrong: Sequence[str], fine: str) -> Finding:
    """Contradicted with the first thing that is wrong and how many there are, or holds."""
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return Finding(CONTRADICTED, what, wrong[0] + more) if wrong else Finding(HOLDS, what, fine)


def damaged(file: Path, error: UserError) -> Finding:
    """Contradicted: a file of the folder cannot be read as what it should be."""
    return Finding(CONTRADICTED, file.name, str(error).removeprefix(f"{file}: "))


def name_of(row: Mapping[Any, Any]) -> str:
    """A row for people: what it is of."""
    parts = [str(row[k]) for k in ("pair", "network", "method", "scorer", "ood") if str(row.get(k, ""))]
    if row.get("condition", "clean") != "clean":
        parts.append(str(row["condition"]))
    split, seed = row.get("split", ""), row.get("seed", "")
    return " / ".join(
        [*parts, *([f"split {split}"] if str(split) else []), *([f"seed {seed}"] if str(seed) else [])]
    )


def text(value: Any) -> str:
    """A value for people, as results files write it."""
    return (
        "empty"
        if value is None or value != value
        else f"{value:.10g}"
        if isinstance(value, (int, float))
        else str(value)
    )


def number(value: Any) -> float:
    """A cell as a number; an empty one is NaN."""
    return float("nan") if value is None or value == "" or value != value else float(value)
