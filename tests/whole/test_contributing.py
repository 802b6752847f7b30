"""What CONTRIBUTING and the pages in docs/ name is there: files, tests, commands, rooms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oodbench.cli.main import cli
from tests.conftest import ROOT
from tests.whole.test_layers import LAYERS

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_PLACE = re.compile(r"(?<![\w/.-])(?:oodbench|tests|docs|suites|benchmarks|results|\.ci)/[\w./+-]*[\w/]")


def _named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text().replace("oodbench/suite/files", "suites")  # as it is called once installed
    missing = [name for name in _PLACE.findall(text) if not (ROOT / name).exists()]
    assert not missing, f"{_named(page)} names {missing}"
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    broken = [link for link in links if not (page.parent / link).exists()]
    assert not broken, f"{_named(page)} links to {broken}"


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_commands_that_a_page_names_are_there(page: Path) -> None:
    known = set(cli.commands)
    named = set(re.findall(r"(?:`|^)oodbench ([a-z]+)", page.read_text(), flags=re.MULTILINE))
    assert named <= known, f"{_named(page)} names {sorted(named - known)}"


def test_it_has_every_room_in_its_order() -> None:
    rooms = re.findall(r"^\| `oodbench/(\w+)/` \|", TEXT, flags=re.MULTILINE)
    assert rooms == LAYERS


def test_tests_that_hold_a_rule_are_there() -> None:
    source = (ROOT / "tests" / "whole" / "test_layers.py").read_text()
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) >= 4
    assert named <= set(re.findall(r"^def (test_\w+)", source, flags=re.MULTILINE))
    assert re.findall(r"^\| (R\d+) \|", TEXT, flags=re.MULTILINE) == [f"R{n}" for n in range(1, 16)]
