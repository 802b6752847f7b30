"""A user's own files: run once, known by their content, mistakes named."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

import oodbench
from oodbench.core import registry
from oodbench.core.errors import SpecError
from oodbench.core.usercode import Code, run_file
from tests.core.keys import key

SOURCE = "runs = []\nruns.append(1)\n\n\ndef make():\n    return 7\n"


@pytest.fixture(autouse=True)
def _caller(_registries: None) -> None:
    @registry.method("t-code", source="test")
    class Caller(oodbench.Method):
        """Takes a function."""

        def __init__(self, *, of: Code) -> None:
            self.of = of


def _resolved(folder: Path, text: str) -> Code:
    return registry.resolve("method", {"t-code": {"of": text}}, folder=folder).params["of"]


def test_a_function_of_a_file_is_found_from_the_suites_folder_and_the_file_runs_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    found = _resolved(tmp_path, "mine.py:make")
    assert found.target() == 7
    assert found.sha256 == hashlib.sha256(SOURCE.encode()).hexdigest()
    again = _resolved(tmp_path, "mine.py:make")
    assert sys.modules[again.target.__module__].runs == [1]
    assert again.target is found.target


def test_code_is_known_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    for name, text in (("a", SOURCE), ("b", SOURCE), ("c", SOURCE + "# edited\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(text)
    a, b, c = (key("method", {"t-code": {"of": f"{tmp_path}/{n}/mine.py:make"}}) for n in "abc")
    assert a == b
    assert a != c


def test_an_installed_function_is_imported(tmp_path: Path) -> None:
    assert _resolved(tmp_path, "json:loads").target("[1]") == [1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mine.py", "should be 'pkg.mod:name' or 'file.py:name'"),
        ("none.py:make", "no such file"),
        ("mine.py:mike", r"has no function or class 'mike'; did you mean 'make'\?"),
        ("no.such.module:f", "cannot import 'no.such.module'"),
        ("bad.py:f", "ZeroDivisionError"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "bad.py").write_text("1 / 0\n")
    with pytest.raises(SpecError, match=words):
        _resolved(tmp_path, text)


def test_a_file_that_raises_leaves_no_module(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        run_file(tmp_path / "bad.py", "t_bad_file")
    assert "t_bad_file" not in sys.modules


def test_a_path_below_a_data_root_is_not_one_from_the_suites_folder(tmp_path: Path) -> None:
    def file(text: str) -> Path:
        return registry.resolve("method", {"checkpoint": {"file": text}}, folder=tmp_path).params["file"]

    assert file("{data}/a/s{seed}.pt") == Path("{data}/a/s{seed}.pt")
    assert file("a/{data}.pt") == tmp_path / "a" / "{data}.pt"
