"""Would the tests notice? Run by hand: ``python tests/mutants.py [ROOM ...]``, minutes on two cores.

Each mutant is one wrong sign, constant or branch in a copy of the package. It is caught if the test file that
mirrors the module fails. A mutant whose text is no longer in the file is an error: give it its new text.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("oodbench", "tests", "suites", "docs", "benchmarks", "pyproject.toml", "README.md")


class Mutant(NamedTuple):
    """Where (module below ``oodbench/``), what stands there, what it becomes, and the test file that should
    notice, if it is not the one that mirrors the module."""

    module: str
    old: str
    new: str
    tests: str = ""

    @property
    def test_file(self) -> str:
        folder, _, name = self.module.rpartition("/")
        return f"tests/{self.tests or f'{folder}/test_{name}'}.py"


MUTANTS: Sequence[Mutant] = ()


def caught(mutant: Mutant) -> tuple[bool, float]:
    """Whether the tests fail on the mutant, and how many seconds they took."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        root = Path(place)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.is_file():
                shutil.copy(source, root / name)
        file = root / "oodbench" / f"{mutant.module}.py"
        text = file.read_text()
        if text.count(mutant.old) != 1:
            raise SystemExit(
                f"{mutant.module}: {mutant.old!r} stands there {text.count(mutant.old)} times, not once"
            )
        file.write_text(text.replace(mutant.old, mutant.new))
        environment = os.environ | {
            "PYTHONPATH": str(root),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            mutant.test_file,
        ]
        start = time.monotonic()
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 1, 2):  # 2: the module cannot even be imported
            raise SystemExit(f"{mutant.module}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.returncode != 0, time.monotonic() - start


def main(rooms: Sequence[str]) -> None:
    """Print a table of the mutants and how many were caught; exit with 1 if fewer than nine of ten."""
    chosen = [m for m in MUTANTS if not rooms or m.module.split("/")[0] in rooms]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = list(pool.map(caught, chosen))
    print("| module | was | became | caught | seconds |\n|---|---|---|---|---|")
    for m, (ok, seconds) in zip(chosen, found, strict=True):
        old, new = (" ".join(t.split()).replace("|", "\\|") for t in (m.old, m.new))
        print(f"| {m.module} | `{old}` | `{new}` | {'yes' if ok else '**no**'} | {seconds:.0f} |")
    n = sum(ok for ok, _ in found)
    print(f"\n{n} of {len(chosen)} caught ({100 * n / max(len(chosen), 1):.0f} %)")
    sys.exit(n < 0.9 * len(chosen))


if __name__ == "__main__":
    main(sys.argv[1:])
