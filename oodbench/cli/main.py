"""The command line: parse, call, print. No logic lives here, and nothing heavy is imported before a command
runs."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click

import oodbench
from oodbench.cli import components, data, results, run
from oodbench.core.errors import UserError


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
            click.echo(f"warning: {message}", err=True)
        else:
            theirs(message, category, filename, lineno, file, line)

    warnings.showwarning = show


for _command in (*run.COMMANDS, *results.COMMANDS, *data.COMMANDS, *components.COMMANDS):
    cli.add_command(_command)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        sys.exit(1)


def main(args: list[str] | None = None) -> None:
    """Entry point: a user's mistake is one line per mistake on stderr and exit status 1."""
    with _one_line_errors():
        try:
            cli.main(args, prog_name="oodbench", standalone_mode=False)
        except click.exceptions.Abort:
            click.echo("interrupted; run the same command again to go on", err=True)
            sys.exit(130)
        except click.ClickException as error:
            error.show()
            sys.exit(1)


if __name__ == "__main__":
    main()
