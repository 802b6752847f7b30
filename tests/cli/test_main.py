"""What holds for every command: a user's mistake is one line and exit 1, warnings of ours are one line."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

import oodbench
from oodbench.cli.main import cli
from tests.cli.calls import call


@pytest.mark.parametrize(
    "args",
    [["run"], ["run", "x.yaml", "--seeds", "a"], ["nothing"], ["list", "nothing"], ["run", "none.yaml"]],
)
def test_argument_errors_exit_1_with_a_message(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*args) == 1
    assert capsys.readouterr().err.strip()


def test_a_warning_of_ours_is_one_line_and_others_keep_their_place() -> None:
    code = (
        "import sys, warnings, oodbench.cli.main as m\n"
        "warnings.simplefilter('always')\n"
        "m.cli.callback()\n"
        "warnings.warn_explicit('of ours', UserWarning, m.__file__, 1)\n"
        "warnings.warn_explicit('of another', UserWarning, '/elsewhere/x.py', 7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[0] == "warning: of ours"
    assert "/elsewhere/x.py:7: UserWarning: of another" in done.stderr


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "oodbench", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"oodbench, version {oodbench.__version__}\n"


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    text = capsys.readouterr().out
    for name in ("run", "leaderboard", "ranks", "compare", "claims", "merge", "verify", "report", "data",
                 "list", "schema", "check"):  # fmt: skip
        assert f"\n  {name} " in text


def test_an_interrupted_command_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def long() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.commands, "long", long)
    assert call("long") == 130
    assert "run the same command again" in capsys.readouterr().err
