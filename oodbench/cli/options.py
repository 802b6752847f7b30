"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from oodbench.data.sources.roots import MOST_READERS, readers, settings

F = TypeVar("F", bound=Callable[..., Any])


def _data_root(ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]) -> None:
    if value:
        ctx.with_resource(settings(data_roots=value))


def _offline(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.with_resource(settings(offline=True))


def _paranoid(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.with_resource(settings(trust="nothing"))


paranoid_option = click.option(
    "--paranoid",
    is_flag=True,
    callback=_paranoid,
    expose_value=False,
    is_eager=True,
    help="Read every byte of data and stored artefacts instead of believing sizes and times.",
)


def data_options(command: F) -> F:
    """``--data-root`` and ``--offline``, for every command that reads data."""
    for option in (
        click.option(
            "--data-root", multiple=True, type=click.Path(path_type=Path), callback=_data_root,
            expose_value=False, is_eager=True,
            help="Folder of data sets instead of OODBENCH_DATA or ./data; may be given several times.",
        ),
        click.option("--offline", is_flag=True, callback=_offline, expose_value=False, is_eager=True,
        help="Never touch the network."),
    ):  # fmt: skip
        command = option(command)
    return command


def _readers(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    if value is None:
        readers()  # a variable that cannot be is said before any work
    else:
        ctx.with_resource(settings(readers=value))


readers_option = click.option(
    "--readers",
    type=click.IntRange(0, MOST_READERS),
    callback=_readers,
    expose_value=False,
    is_eager=True,
    help="Processes that decode image files, 0: threads of this one.  [default: OODBENCH_READERS, or by the"
    " number of CPUs]",
)

plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that registers components.",
)
