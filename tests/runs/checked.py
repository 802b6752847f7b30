"""What the tests of verification share: findings by what they are of, and a results.csv
changed in one place."""

from __future__ import annotations

import re
from pathlib import Path

from oodbench.evaluation.rows import read_rows
from oodbench.runs import verify
from oodbench.runs.findings import CONTRADICTED, HOLDS, Finding


def findings(folder: Path, **more: Path) -> dict[str, Finding]:
    return {f.what: f for f in verify.folder(folder, **more)}


def states(folder: Path, **more: Path) -> dict[str, str]:
    """Of everything but the versions, which say where a run was made."""
    return {what: f.state for what, f in findings(folder, **more).items() if what != "versions"}


def all_hold(folder: Path, **more: Path) -> bool:
    return set(states(folder, **more).values()) == {HOLDS}


def only_wrong(folder: Path, what: str) -> str:
    """Why one thing is contradicted; everything else still holds."""
    found = findings(folder)
    assert [w for w, f in found.items() if f.state == CONTRADICTED] == [what], found
    assert {f.state for w, f in found.items() if w not in (what, "versions")} == {HOLDS}, found
    return found[what].why


def rewrite(folder: Path, scorer: str, metric: str, change: float) -> str:
    """One metric of one row of results.csv changed, in the file's text; returns the row's OOD set."""
    rows = read_rows(folder / "results.csv")
    at = rows.index[(rows["scorer"] == scorer) & (rows["ood"] != "")][0]
    file = folder / "results.csv"
    lines = file.read_text().splitlines()
    old = f"{rows.loc[at, metric]:.10g}"
    cells = lines[at + 1].split(old)
    assert len(cells) >= 2
    lines[at + 1] = f"{rows.loc[at, metric] + change:.10g}".join([cells[0], old.join(cells[1:])])
    file.write_text("\n".join(lines) + "\n")
    return str(rows.loc[at, "ood"])


def judged(page: str) -> list[str]:
    """The claims that a page shows with a verdict; the text of the suite, which stands there too, is none."""
    return re.findall(
        r'<details class="claim"><summary><span class="verdict \w+">\w+</span> (.*?)</summary>', page
    )
