"""``oodbench run``: train what is missing, score, write tables and page."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodbench.cli.options import data_options, execution_options, paranoid_option, readers_option
from oodbench.core.errors import UserError

if TYPE_CHECKING:
    from oodbench.runs.execution import Execution
    from oodbench.runs.runner import Results
    from oodbench.suite.suite import Suite


class _Integers(click.ParamType):
    name = "0,1,2"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} should be integers with commas between, such as 0,1,2", param, ctx)
        if any(n < 0 for n in numbers) or len(set(numbers)) < len(numbers):
            self.fail(f"{value!r} should be different integers >= 0", param, ctx)
        return numbers


class _Names(click.ParamType):
    name = "a,b"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        from oodbench.suite import choose

        return value if isinstance(value, tuple) else choose.names_in(value)


_PATH = click.Path(path_type=Path)


@click.command("run")
@click.argument("suites", nargs=-1, required=True, type=_PATH, metavar="SUITE...")
@click.option("--results", default="runs", show_default=True, type=_PATH, help="Folder for result files.")
@click.option(
    "--store",
    help="Folder of stored artefacts, or a URL such as s3://bucket/x; may be shared.  [default:"
    " <results>/.store]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@execution_options
@readers_option
@click.option("--seeds", type=_Integers(), help="Seeds instead of the suite's.")
@click.option("--splits", type=_Integers(), help="Only the pairs at these splits.")
@click.option("--scorers", type=_Names(), help="Only these scorers; one that the suite lacks is added.")
@click.option("--methods", type=_Names(), help="Only these methods; one that the suite lacks is added.")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=_PATH,
    help="A Python file; its scorers and methods stand beside the suite's own.",
)
@click.option(
    "--skip-missing", is_flag=True, help="Leave out data sets that are not here instead of stopping."
)
@click.option(
    "--dry-run", is_flag=True, help="Print every artefact with its key, stored or missing; do no work."
)
@click.option(
    "--no-plots", is_flag=True, help="Draw no pictures; `oodbench report FOLDER --plots` does later."
)
@click.option("--quiet", is_flag=True, help="No progress, no table.")
@paranoid_option
@data_options
def run_suites(
    suites: tuple[Path, ...], results: Path, store: str | None, device: str, seeds: tuple[int, ...] | None,
    splits: tuple[int, ...] | None, plugins: tuple[Path, ...], skip_missing: bool, dry_run: bool,
    no_plots: bool, quiet: bool, how: Execution, **choice: tuple[str, ...] | None,
) -> None:  # fmt: skip
    """Run suites: train, extract and score what is missing; write tables, plots and the page.

    SUITE is a file, or the name of a suite of the package (`oodbench list suites`). Scorers and methods are
    named by name or label, with commas between."""
    from oodbench.core.progress import Reporter
    from oodbench.data.sources import roots
    from oodbench.runs import machine, runner
    from oodbench.training import processes

    reporter = Reporter(quiet)
    if not how.elsewhere:  # else it is another machine's device
        machine.pick_device(device)
    loaded = _load(suites, plugins, seeds, splits, choice)
    place: str | Path = store or results / ".store"
    failed = 0
    with processes.together(), roots.settings(watch=reporter.line):
        for suite in loaded:
            if dry_run:
                _print_plan(suite, place, skip_missing)
            elif processes.assisting():
                runner.assist(suite, results=results, store=place, device=device, skip_missing=skip_missing)
            else:
                done = runner.run(
                    suite, results=results, store=place, device=device, skip_missing=skip_missing,
                    plots=not no_plots, reporter=reporter, how=how,
                )  # fmt: skip
                failed += done.failed
                if not quiet:
                    _print_summary(done)
    if failed:
        click.echo(f"{failed} rows failed; the column `reason` of the results says why", err=True)
        sys.exit(3)


def _load(
    files: Sequence[Path],
    plugins: Sequence[Path],
    seeds: Sequence[int] | None,
    splits: Sequence[int] | None,
    choice: Mapping[str, Sequence[str] | None],
) -> list[Suite]:
    """The suites, each with a results folder of its own."""
    from oodbench.suite import choose, load

    read = (load.load_suite(file, plugins).restricted(seeds, splits) for file in files)
    loaded = [
        choose.chosen(suite, scorers=choice["scorers"], methods=choice["methods"], plugins=plugins)
        for suite in read
    ]
    names = [s.name for s in loaded]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise UserError(f"two suites have the name {twice!r}; their results would overwrite each other")
    return loaded


def _print_plan(suite: Suite, store: str | Path, skip_missing: bool) -> None:
    """What a run would make and what is stored. Nothing is written, not even a folder."""
    from oodbench.runs import dry_run
    from oodbench.runs.remote import found_at
    from oodbench.suite import plan

    for line in dry_run.lines_of(plan.make_plan(suite, skip_missing=skip_missing), found_at(store)):
        click.echo(line)


def _print_summary(done: Results) -> None:
    from oodbench.report import text

    click.echo(text.to_text(done.leaderboard))
    if len(done.claims):
        click.echo(text.claims_to_text(done.claims))
    made = ", ".join(f"{n} {kind}" for kind, n in done.made.items())
    files = sorted(f"{f.name}/" if f.is_dir() else f.name for f in done.folder.iterdir())
    click.echo(f"made: {made}\nfiles: {done.folder}/ ({', '.join(files)})")


COMMANDS: tuple[click.Command, ...] = (run_suites,)
