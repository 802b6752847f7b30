"""What runs on a node, called here."""

from __future__ import annotations

import sys

import pytest

from oodbench.runs.executors.ray_place import Place, importable


def test_a_function_is_found_by_its_names() -> None:
    assert Place().work("tests.runs.executors.jobs", "double", (4,)) == (True, 8)
    assert Place().work("pathlib", "Path.joinpath", ("a", "b"))[0] is False, "str is no path: it raised"


@pytest.mark.parametrize(
    ("module", "function", "reason"),
    [
        ("no_such_module", "f", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("tests.runs.executors.jobs", "none", "AttributeError: "),
        ("sys", "exit", "SystemExit: "),
    ],
)
def test_what_cannot_be_called_is_told(module: str, function: str, reason: str) -> None:
    ok, said = Place().work(module, function, ())
    assert not ok
    assert said.startswith(reason)


def test_whether_the_package_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert importable() == ""
    monkeypatch.setitem(sys.modules, "oodbench.runs.executors.contract", None)
    assert importable().startswith("ModuleNotFoundError: ")


def test_the_file_needs_nothing_of_the_package_to_be_read() -> None:
    """A node gets it by value: what it imports, it imports inside of functions."""
    from tests.whole.test_layers import PACKAGE

    lines = (PACKAGE / "runs" / "executors" / "ray_place.py").read_text().splitlines()
    assert [line for line in lines if line.startswith(("import ", "from "))] == [
        "from __future__ import annotations",
        "from typing import Any",
    ]
