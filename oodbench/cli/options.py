"""Options that several commands share."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from oodbench.data.sources.roots import MOST_READERS, readers, settings

F = TypeVar("F", bound=Callable[..., Any])


def _data_root(ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]) -> None:
    if value:
        ctx.with_resource(settings(data_roots=value))


def _local_data(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.with_resource(settings(local=value))


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
    """``--data-root``, ``--local-data`` and ``--offline``, for every command that reads data."""
    for option in (
        click.option(
            "--data-root", multiple=True, type=click.Path(path_type=Path), callback=_data_root,
            expose_value=False, is_eager=True,
            help="Folder of data sets instead of OODBENCH_DATA or ./data; may be given several times.",
        ),
        click.option(
            "--local-data", type=click.Path(path_type=Path), callback=_local_data, expose_value=False,
            is_eager=True, metavar="FOLDER",
            help="Keep copies of data files on this machine's own disk.  [default: OODBENCH_LOCAL_DATA]",
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

_HOW = ("workers", "ray", "slurm", "gpus_per_run", "threads")


def execution_options(command: F) -> F:
    """Who carries out the runs, handed to the command as `how`, an `Execution`."""

    @functools.wraps(command)
    def with_execution(**values: Any) -> Any:
        from oodbench.runs.execution import Execution

        typed = shlex.join(["oodbench", *sys.argv[1:]])
        return command(how=Execution(**{k: values.pop(k) for k in _HOW}, command=typed), **values)

    for option in (
        click.option("--threads", type=int, help="Threads of each run.  [default: CPUs / workers]"),
        click.option(
            "--gpus-per-run", type=float,
            help="GPUs of each run, 0.25 for four at a time on one.  [default: one, where there are any]",
        ),
        click.option(
            "--slurm", type=click.Path(path_type=Path), metavar="FILE",
            help="Give the runs to Slurm by submitit, with the parameters of a YAML file.",
        ),
        click.option(
            "--ray", metavar="ADDRESS", help="Give the runs to a Ray cluster; `local`: one of this machine."
        ),
        click.option("--workers", type=int, help="Carry out the runs in N processes of this machine."),
    ):  # fmt: skip
        with_execution = option(with_execution)
    return cast(F, with_execution)


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that registers components.",
)
