"""Options that several commands share, on a command of this test."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from oodbench.cli.options import data_options, plugin_option, readers_option
from oodbench.data.sources.roots import data_roots, offline, readers


@click.command()
@plugin_option
@data_options
def command(plugins: tuple[Path, ...]) -> None:
    click.echo(f"{[str(r) for r in data_roots()]} {offline()} {[p.name for p in plugins]}")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OODBENCH_DATA", "OODBENCH_OFFLINE", "OODBENCH_READERS"):
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


@click.command()
@readers_option
def decoding() -> None:
    click.echo(f"{readers()}")


def test_readers_hold_for_the_command_and_stand_before_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert CliRunner().invoke(decoding, []).output == "None\n"
    monkeypatch.setenv("OODBENCH_READERS", " 7 ")
    assert CliRunner().invoke(decoding, []).output == "7\n"
    assert CliRunner().invoke(decoding, ["--readers", "0"]).output == "0\n"
    assert readers() == 7
    for wrong in ("-1", "many", "513"):
        assert "--readers" in CliRunner().invoke(decoding, ["--readers", wrong]).output
    monkeypatch.setenv("OODBENCH_READERS", "many")  # said before any work
    assert "OODBENCH_READERS: 'many' should be" in str(CliRunner().invoke(decoding, []).exception)
    assert CliRunner().invoke(decoding, ["--readers", "2"]).output == "2\n"
