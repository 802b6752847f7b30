"""Suites of the package by name; a user's own file first."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.suite import packaged
from oodbench.suite.load import load_suite
from tests.conftest import ROOT, TINY


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_file_has_a_name_and_every_name_a_file(elsewhere: Path) -> None:
    files = {f.resolve() for f in (ROOT / "suites").rglob("*.yaml")}
    assert {packaged.find(n).resolve() for n in packaged.names()} == files
    assert {"digits", "openood/cifar10", "als/cifar+10"} <= set(packaged.names())


def test_a_name_is_enough(elsewhere: Path) -> None:
    assert load_suite("openood/cifar10").name == "openood-cifar10"
    assert load_suite(Path("digits")).file == packaged.folder() / "digits.yaml"


@pytest.mark.parametrize("file", ["digits", "digits.yaml"])
def test_a_file_in_the_working_folder_wins(elsewhere: Path, file: str) -> None:
    (elsewhere / file).write_text(TINY)
    assert load_suite("digits").name == "tiny"


def test_a_folder_of_the_same_name_does_not(elsewhere: Path) -> None:
    (elsewhere / "digits").mkdir()
    assert load_suite("digits").name == "digits"


def test_paths_start_at_the_suite_that_a_name_finds(elsewhere: Path) -> None:
    (elsewhere / "sub").mkdir()
    (elsewhere / "sub" / "own.py").write_text("MADE = 1\n")
    (elsewhere / "sub" / "mine.yaml").write_text(TINY + "plugins: [own.py]\n")
    assert [p.resolve() for p in load_suite("sub/mine").plugins] == [elsewhere / "sub" / "own.py"]


def test_a_miss_says_the_nearest_and_lists_all(elsewhere: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'openood/cifar100'") as caught:
        packaged.find("openood/cifar1000")
    (line,) = str(caught.value).splitlines()
    assert all(name in line for name in packaged.names())


def test_a_missing_path_is_said_as_a_path(elsewhere: Path) -> None:
    with pytest.raises(UserError, match=r"gone/suite.yaml: cannot be read .*oodbench list suites"):
        load_suite("gone/suite.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_suite(elsewhere)
