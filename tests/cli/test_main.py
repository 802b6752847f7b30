"""What holds for every command: a user's mistake is one line and exit 1, warnings of ours are one line."""

from __future__ import annotations

import os
import signal
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


RAISES = """
import click, errno, os, time
from oodbench.cli import main

@click.command()
def ends() -> None:
    {body}

main.cli.add_command(ends, "ends")
main.main(["ends"])
"""


def run_command(body: str, **keywords: object) -> subprocess.CompletedProcess[str]:
    code = RAISES.format(body=body)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **keywords
    )  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("open('/proc/nothing/here')", "error: /proc/nothing/here: No such file or directory"),
        ("raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))", "error: No space left on device"),
        ("raise PermissionError(13, 'Permission denied', b'caf\\xe9.csv')",
         "error: caf\ufffd.csv: Permission denied"),
        ("raise OSError('told in\\nseveral lines')", "error: told in several lines"),
        ("raise MemoryError", "error: out of memory (MemoryError)"),
        ("raise EOFError('ran out of input')", "error: unexpected end of a file (ran out of input)"),
        ("raise main.UserError('a \\x1b[31mred\\x1b[0m name')", "error: a red name"),
    ],
)  # fmt: skip
def test_what_the_operating_system_refuses_is_one_line(body: str, line: str) -> None:
    done = run_command(body)
    assert done.returncode == 1
    assert done.stderr.strip() == line


def test_a_name_that_no_terminal_can_show_ends_nothing() -> None:
    done = run_command("click.echo('caf\\udce9.png')", env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "caf\\udce9.png\n"


def test_a_reader_that_has_enough_is_no_error() -> None:
    code = RAISES.format(body="[print('x' * 1000) for _ in range(10_000)]")
    done = subprocess.run(
        f"{sys.executable} -c '{code.replace(chr(39), chr(34))}' | head -c 10", shell=True,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "x" * 10
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_end_is_one_line_like_ctrl_c(number: signal.Signals) -> None:
    # what a shell starts in the background ignores Ctrl-C, and so would what it starts
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = heard + RAISES.format(body="print('ready', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True) as going:
        assert going.stdout is not None
        assert going.stdout.readline() == "ready\n"
        going.send_signal(number)
        _, said = going.communicate(timeout=60)
    assert going.returncode == 128 + number
    assert said.strip() == "interrupted; run the same command again to go on"


def test_the_handlers_of_whoever_calls_are_left_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert call("--version") == 0
    assert signal.getsignal(signal.SIGTERM) is before
