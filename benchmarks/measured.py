"""What benchmarks of one run share: works measured in turns, and the table of what came out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def in_turns(
    works: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each work in each round, in turns whose order is reversed every other round; one round
    before does not count."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(-1, rounds):
        for name in list(works) if number % 2 else reversed(list(works)):
            start = clock()
            works[name]()
            if number >= 0:
                found[name].append(clock() - start)
    return found


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of Markdown."""
    rule = "|".join("---" if i == 0 else "---:" for i in range(len(header)))
    print(f"\n{title}\n\n| {' | '.join(header)} |\n|{rule}|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def into(page: Path, name: str, text: str) -> None:
    """Put a text between the marks ``<!-- name: begin -->`` and ``<!-- name: end -->`` of a page, in place of
    what stands there."""
    whole = page.read_text()
    before, begin, rest = whole.partition(f"<!-- {name}: begin -->\n")
    _, end, after = rest.partition(f"<!-- {name}: end -->")
    if not end:
        raise SystemExit(f"{page}: has no marks {name!r}")
    page.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}")
