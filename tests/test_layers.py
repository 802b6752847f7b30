"""Imports go one way (CONTRIBUTING.md, Architecture): read from the syntax tree, lazy imports inside functions included."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import oodbench

PACKAGE = Path(oodbench.__file__).parent
COMPONENTS = ("datasets", "pairs", "networks", "methods", "scorers", "views", "augment")
# Each module may import those on its own line (in order) and on every line before it.
ORDER = [
    ["errors"],
    ["base"],
    ["functional", "samples", "team"],
    ["registry"],
    ["sources", *COMPONENTS],
    ["recipes", "optimise", "listing", "data"],
    ["train", "optimise", "extract", "score"],
    ["metrics", "stats"],
    ["tune", "contracts"],
    ["tables"],
    ["leaderboard", "claims", "merge", "compare", "compare_text", "reference", "evidence", "ranks", "costs",
     "plots", "boardplots", "pagesamples", "pagedata", "report"],
    ["suite", "store", "progress"],
    ["schema"],
    ["pairdata"],
    ["runs"],
    ["plan"],
    ["engine"],
    ["rows"],
    ["results"],
    ["runner", "stored", "verify"],
    ["cli_tables", "cli_data"],
    ["cli", "__main__"],
]
RANK = {name: i for i, names in enumerate(ORDER) for name in names}


def _module(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "oodbench":
            parts = node.module.split(".")
            found |= (
                {parts[1]}
                if len(parts) > 1
                else {a.name for a in node.names if (PACKAGE / f"{a.name}.py").exists() or (PACKAGE / a.name).is_dir()}
            )
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("oodbench.")}
    return found


FILES = sorted(f for f in PACKAGE.rglob("*.py") if f.name != "__init__.py" or f.parent != PACKAGE)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_go_one_way(file: Path) -> None:
    me = _module(file)
    assert me in RANK, f"{me} has no place in ORDER; give it one"
    for other in _imports(file) - {me}:
        assert RANK[other] <= RANK[me], f"{me} imports {other}, which stands after it"
        assert not (me in COMPONENTS and other in COMPONENTS), (
            f"components never import one another: {me} imports {other}"
        )


def test_help_and_version_do_not_import_torch() -> None:
    code = """
import sys
from oodbench.cli import main
try:
    main({args!r})
except SystemExit:
    pass
assert not {{"torch", "pandas", "matplotlib", "sklearn"}} & set(sys.modules)
"""
    for args in (["--help"], ["--version"], ["run", "--help"], ["run"], ["nothing"]):
        done = subprocess.run([sys.executable, "-c", code.format(args=args)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
