"""The house rules that a machine can hold (CONTRIBUTING.md): who imports whom, how large a file and a
function may be, who mirrors whom."""

from __future__ import annotations

import ast
import collections
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import oodbench
from tests.conftest import ROOT

PACKAGE = Path(oodbench.__file__).parent
FILES = sorted(f for f in PACKAGE.rglob("*.py") if f != PACKAGE / "__init__.py")
LAYERS = ["core", "data", "evaluation", "training", "scoring", "report", "suite", "runs", "cli"]
"""The way of the data. A room imports from rooms before it in this list only."""
APART = [{"data", "evaluation"}]
"""Rooms that do not know each other at all."""
KINDS = (
    "data/datasets", "data/pairs", "training/networks", "training/methods", "training/augmentations",
    "scoring/scorers",
    "scoring/views",
)  # fmt: skip
"""Folders of components. What is registered by name is found by name: one kind never imports another."""


def _named(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def _room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _kind(file: Path) -> str:
    folder = file.relative_to(PACKAGE).parent.as_posix()
    return folder if folder in KINDS else ""


def _file_of(module: str) -> Path | None:
    """The file of a dotted name inside the package; None where it names no module."""
    place = PACKAGE.joinpath(*module.split(".")[1:])
    if place.is_dir():
        return place / "__init__.py"
    return place.with_suffix(".py") if place.with_suffix(".py").is_file() else None


def _imported(tree: ast.AST) -> Iterator[str]:
    """Modules that a file imports, inside functions too; what stands under `if TYPE_CHECKING` never runs."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that one can search for them"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.startswith("oodbench.") and _file_of(inner) else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def edges(files: list[Path] = FILES) -> Iterator[tuple[Path, Path]]:
    """(file, file that it imports), lazy imports included. The package's own ``__init__`` names everything by
    strings and is left out."""
    for file in files:
        for module in _imported(ast.parse(file.read_text())):
            other = _file_of(module) if module.startswith("oodbench.") else None
            if other is not None and other not in (file, PACKAGE / "__init__.py"):
                yield file, other


def wrong_way(a: Path, b: Path) -> bool:
    """Whether `a` must not import `b`."""
    rooms = _room(a), _room(b)
    if rooms[0] == "__main__":
        return rooms[1] != "cli"
    if LAYERS.index(rooms[1]) > LAYERS.index(rooms[0]) or set(rooms) in APART:
        return True
    return bool(_kind(a) and _kind(b) and _kind(a) != _kind(b))


def test_every_file_lies_in_a_room() -> None:
    there = {p.name for p in PACKAGE.iterdir() if not p.name.startswith("__pycache__")}
    assert there == {*LAYERS, "__init__.py", "__main__.py", "py.typed"}


def test_imports_go_down() -> None:
    wrong = sorted({f"{_named(a)} -> {_named(b)}" for a, b in edges() if wrong_way(a, b)})
    assert not wrong, "\n".join(wrong)


def test_no_circle() -> None:
    graph: dict[str, set[str]] = collections.defaultdict(set)
    for a, b in edges():
        graph[_named(a)].add(_named(b))
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_size_of_files() -> None:
    assert not [(_named(f), n) for f in FILES if (n := len(f.read_text().splitlines())) > 300]


def _functions(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef, bool]]:
    """Every function, and whether its parameters are a configuration: those of a registered component or of
    a command, which are what users write."""
    configured = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.decorator_list
        for inner in [node, *ast.iter_child_nodes(node)]
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node, id(node) in configured


def test_size_of_functions() -> None:
    """A screen: 50 lines without the docstring, 8 parameters. (Ruff holds the complexity.)"""
    wrong = []
    for file in FILES:
        for f, configured in _functions(ast.parse(file.read_text())):
            first = f.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            doc = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            lines = (f.end_lineno or 0) - f.lineno + 1 - doc
            names = [a.arg for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)]
            parameters = len([n for n in names if n not in ("self", "cls")])
            if lines > 50 or (parameters > 8 and not configured):
                wrong.append(f"{_named(file)}: {f.name}: {lines} lines, {parameters} parameters")
    assert not wrong, "\n".join(wrong)


def test_no_function_has_the_name_of_its_module() -> None:
    """Else every importer invents an alias. A command and a component are named by users."""
    wrong = []
    for file in FILES:
        for node in ast.parse(file.read_text()).body:
            named = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == file.stem
            if named and not node.decorator_list and _room(file) != "cli":  # type: ignore[union-attr]
                wrong.append(_named(file))
    assert not wrong


DECLARATIONS = frozenset({"core/description"})
"""Modules of types alone: what they do is what others do with them."""


def test_tests_mirror_modules() -> None:
    """``oodbench/<folder>/<module>.py`` is tested in ``tests/<folder>/test_<module>.py``: one knows where to
    look, and what a mutant in the one should fail."""
    modules = [f.relative_to(PACKAGE).with_suffix("") for f in FILES if not f.stem.startswith("__")]
    due = [m for m in modules if m.as_posix() not in DECLARATIONS]
    missing = [m for m in due if not (ROOT / "tests" / m.parent / f"test_{m.name}.py").is_file()]
    assert not missing, "\n".join(map(str, missing))


def test_help_and_version_do_not_import_torch() -> None:
    code = """
import sys
from oodbench.cli.main import main
try:
    main({args!r})
except SystemExit:
    pass
assert not {{"torch", "pandas", "matplotlib", "sklearn"}} & set(sys.modules)
"""
    for args in (["--help"], ["--version"], ["run", "--help"], ["run"], ["nothing"]):
        done = subprocess.run([sys.executable, "-c", code.format(args=args)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
