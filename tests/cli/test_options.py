"""Options that several commands share, on a command of this test."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from oodbench.cli.options import data_options, plugin_option
from oodbench.data.sources.roots import data_roots, offline


@click.command()
@plugin_option
@data_options
def command(plugins: tuple[Path, ...]) -> None:
    click.echo(f"{[str(r) for r in data_roots()]} {offline()} {[p.name for p in plugins]}")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OODBENCH_DATA", "OODBENCH_OFFLINE"):
        monkeypatch.setenv(name, "")  # so that what a command sets is taken back


def test_data_roots_stand_in_their_order_and_replace_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OODBENCH_DATA", str(tmp_path / "old"))
    roots = [str(tmp_path / "b"), str(tmp_path / "a")]
    done = CliRunner().invoke(command, ["--data-root", roots[0], "--data-root", roots[1], "--offline"])
    assert done.output == f"{roots} True []\n"


def test_without_them_the_environment_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_DATA", os.pathsep.join(("x", "y")))
    assert CliRunner().invoke(command, []).output == "['x', 'y'] False []\n"


def test_plugins_may_be_several() -> None:
    done = CliRunner().invoke(command, ["--plugin", "one.py", "--plugin", "two.py"])
    assert done.output.endswith("['one.py', 'two.py']\n")
