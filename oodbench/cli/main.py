"""The command line: parse, call, print. No logic lives here, and nothing heavy is imported before a command
runs."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click

import oodbench
from oodbench.cli import components, data, results, run
from oodbench.core.errors import UserError, one_line


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(oodbench.__version__, prog_name="oodbench")
def cli() -> None:
    """Benchmark out-of-distribution detection: train what is missing, extract once, score with everything,
    compare honestly."""
    theirs = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """A warning of ours is for the user, in one line; others keep the place in the code that a developer
        needs."""
        if Path(filename).is_relative_to(Path(oodbench.__file__).parent):
            click.echo(f"warning: {one_line(str(message), 2000)}", err=True)
        else:
            theirs(message, category, filename, lineno, file, line)

    warnings.showwarning = show


for _command in (*run.COMMANDS, *results.COMMANDS, *data.COMMANDS, *components.COMMANDS):
    cli.add_command(_command)


class _Terminated(KeyboardInterrupt):
    """Told to end by another process, or by a terminal that closes: it ends like Ctrl-C."""

    def __init__(self, signum: int) -> None:
        self.status = 128 + signum


def _terminate(signum: int, frame: object) -> None:
    raise _Terminated(signum)


@contextlib.contextmanager
def _ends_well() -> Iterator[None]:
    """SIGTERM and SIGHUP end as an interruption does; what a terminal cannot show does not end anything."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name that is no text
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {s: signal.signal(s, _terminate) for s in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """A mistake of the user's, or what the operating system refuses, is told in one line."""
    try:
        yield
    except UserError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {one_line(line, 2000)}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # whoever read us wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        where = "" if error.filename is None else f"{one_line(os.fsdecode(error.filename))}: "
        click.echo(f"error: {where}{one_line(error.strerror or error)}", err=True)
        sys.exit(1)
    except MemoryError as error:
        click.echo(f"error: out of memory ({one_line(error)})", err=True)
        sys.exit(1)


def main(args: list[str] | None = None) -> None:
    """Entry point: a user's mistake is one line per mistake on stderr and exit status 1."""
    with _ends_well(), _one_line_errors():
        try:
            cli.main(args, prog_name="oodbench", standalone_mode=False)
        except click.exceptions.Abort as error:
            if isinstance(error.__cause__, EOFError):  # which click takes for an interruption
                raise UserError(f"unexpected end of a file ({one_line(error.__cause__)})") from None
            click.echo("interrupted; run the same command again to go on", err=True)
            sys.exit(getattr(error.__cause__, "status", 130))
        except click.ClickException as error:
            error.show()
            sys.exit(1)


if __name__ == "__main__":
    main()
