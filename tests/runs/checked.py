"""What the tests of verification share: findings by what they are of, and a results.csv
changed in one place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from oodbench.core.identity import file_sha256
from oodbench.evaluation.rows import read_rows
from oodbench.runs import verify
from oodbench.runs.findings import CONTRADICTED, HOLDS, UNCHECKED, Finding
from tests.unpacked import unpacked

_WORST = (CONTRADICTED, UNCHECKED, HOLDS)


def findings(folder: Path, **more: Any) -> dict[str, Finding]:
    """By what they are of; of several, the worst."""
    found: dict[str, Finding] = {}
    for f in sorted(verify.folder(folder, **more), key=lambda f: -_WORST.index(f.state)):
        found[f.what] = f
    return found


ASKED = {"versions", "scores", "outputs"}
"""Versions say where a run was made; the others are made again where it is asked for."""


def states(folder: Path, **more: Any) -> dict[str, str]:
    """Of everything but what must be asked for."""
    return {what: f.state for what, f in findings(folder, **more).items() if what not in ASKED}


def all_hold(folder: Path, **more: Any) -> bool:
    return set(states(folder, **more).values()) == {HOLDS}


def only_contradicted(folder: Path, what: str, **more: Any) -> str:
    """Why one thing is contradicted; others may be out of reach because of it."""
    found = findings(folder, **more)
    assert [w for w, f in found.items() if f.state == CONTRADICTED] == [what], found
    return found[what].why


def only_wrong(folder: Path, what: str, **more: Any) -> str:
    """Why one thing is contradicted; everything else still holds."""
    why = only_contradicted(folder, what, **more)
    others = states(folder, **more)
    others.pop(what, None)
    assert set(others.values()) == {HOLDS}, others
    return why


def forge(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Change the tensors of a stored artefact together with their checksum."""
    file = folder / f"{folder.parents[1].name}.safetensors"
    save_file({k: t.contiguous() for k, t in change(load_file(file)).items()}, file)
    seal(folder)


def seal(folder: Path) -> None:
    """Write the checksums of what lies in a stored artefact now."""
    files = sorted(f for f in folder.iterdir() if f.name != "manifest.json")
    manifest = {f.name: {"sha256": file_sha256(f), "bytes": f.stat().st_size} for f in files}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def stored(folder: Path, kind: str, name: str = "") -> list[Path]:
    """The artefacts of one kind beside a results folder, those of one set."""
    root = unpacked(folder.parent / ".store") / kind
    found = [f.parent for f in sorted(root.rglob("manifest.json"))]
    return [f for f in found if not name or json.loads((f / "meta.json").read_text())["set"] == name]


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
