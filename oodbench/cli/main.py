"""The command line: parse, call, print. No logic lives here, and nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

import oodbench
from oodbench.cli.data import data, data_options
from oodbench.cli.results import commands as tables
from oodbench.core.errors import UserError

LISTED = ("datasets", "pairs", "networks", "methods", "scorers", "views", "augmentations")


class _Integers(click.ParamType):
    name = "0,1,2"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} should be integers with commas between, such as 0,1,2", param, ctx)
        if any(n < 0 for n in numbers) or len(set(numbers)) < len(numbers):
            self.fail(f"{value!r} should be different integers >= 0", param, ctx)
        return numbers


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(oodbench.__version__, prog_name="oodbench")
def cli() -> None:
    """Benchmark out-of-distribution detection: train what is missing, extract once, score with everything, compare honestly."""
    theirs = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
    ) -> None:
        """A warning of ours is for the user, in one line; others keep the place in the code that a developer needs."""
        if Path(filename).is_relative_to(Path(oodbench.__file__).parent):
            click.echo(f"warning: {message}", err=True)
        else:
            theirs(message, category, filename, lineno, file, line)

    warnings.showwarning = show


@cli.command()
@click.argument("suites", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SUITE...")
@click.option(
    "--results", default="results", show_default=True, type=click.Path(path_type=Path), help="Folder for result files."
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder of stored artefacts (may be shared).  [default: <results>/.store]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--seeds", type=_Integers(), help="Seeds instead of the suite's.")
@click.option("--splits", type=_Integers(), help="Only the pairs at these splits.")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that registers components.",
)
@click.option("--skip-missing", is_flag=True, help="Leave out data sets that are not here instead of stopping.")
@click.option("--dry-run", is_flag=True, help="Print every artefact with its key, stored or missing; do no work.")
@click.option("--quiet", is_flag=True, help="No progress, no table.")
@data_options
def run(
    suites: tuple[Path, ...],
    results: Path,
    store: Path | None,
    device: str,
    seeds: tuple[int, ...] | None,
    splits: tuple[int, ...] | None,
    plugins: tuple[Path, ...],
    skip_missing: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Run suites: train, extract and score what is missing; write tables, plots and the page."""
    from oodbench.core.progress import Reporter
    from oodbench.runs.engine import pick_device
    from oodbench.runs.runner import assist
    from oodbench.runs.runner import run as run_suite
    from oodbench.runs.store import Store
    from oodbench.suite.parse import load_suite
    from oodbench.suite.plan import artefacts, make_plan
    from oodbench.training.processes import assisting

    reporter = Reporter(quiet)
    pick_device(device)
    loaded = [load_suite(file, plugins).restricted(seeds, splits) for file in suites]
    names = [s.name for s in loaded]
    if len(set(names)) < len(names):
        raise UserError(
            f"two suites have the name {next(n for n in names if names.count(n) > 1)!r}; their results would overwrite each other"
        )
    if dry_run:
        for suite in loaded:
            here = Store(store or results / ".store", reporter.warn)
            plan = make_plan(suite, skip_missing=skip_missing)
            found = [(here.has(kind, key), kind, key, title) for kind, key, title in artefacts(plan)]
            for there, kind, key, title in found:
                click.echo(f"{'stored ' if there else 'missing'}  {kind:<8} {key[:16]}  {title}")
            for line in plan.skipped:
                click.echo(f"skipped  {line}")
            click.echo(
                f"{suite.name}: {len(plan.runs)} runs, {sum(f[0] for f in found)} of {len(found)} artefacts stored"
            )
        return
    if assisting():
        for suite in loaded:
            assist(suite, results=results, store=store, device=device, skip_missing=skip_missing)
        return
    failed = 0
    for suite in loaded:
        done = run_suite(
            suite,
            results=results,
            store=store,
            device=device,
            skip_missing=skip_missing,
            reporter=reporter,
            command=shlex.join(["oodbench", *sys.argv[1:]]),
        )
        failed += done.failed
        if not quiet:
            _summary(done)
    if failed:
        click.echo(f"{failed} rows failed; results.csv gives each one's reason", err=True)
        sys.exit(3)


def _summary(done: Any) -> None:
    from oodbench.evaluation.leaderboard import to_text

    click.echo(to_text(done.leaderboard))
    if len(done.claims):
        from oodbench.evaluation.verdicts import to_text as verdicts

        click.echo(verdicts(done.claims))
    made = ", ".join(f"{n} {kind}" for kind, n in done.made.items())
    click.echo(
        f"made: {made}\nfiles: {done.folder}/ (leaderboard.csv, results.csv, timing.csv, history.csv, suite.yaml, report.html, plots/)"
    )


@cli.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A Python file that registers components."
)
def claims(results: Path, plugins: tuple[Path, ...]) -> None:
    """Judge the claims of a results folder's suite by its rows; print the verdicts and write claims.csv."""
    from oodbench.evaluation import verdicts as judging
    from oodbench.evaluation.leaderboard import read_rows
    from oodbench.runs.folder import csv, replace_text
    from oodbench.suite.parse import load_suite

    suite = load_suite(results / "suite.yaml", plugins)
    if not suite.claims:
        raise UserError(f"{results / 'suite.yaml'}: states no claims; write them under `claims:` in the suite")
    verdicts = judging.judge(read_rows(results / "results.csv"), suite.claims, {m.label: m.spec.name for m in suite.methods})
    replace_text(results / "claims.csv", csv(verdicts))
    click.echo(judging.to_text(verdicts))


@cli.command("list")
@click.argument("kinds", nargs=-1, type=click.Choice(LISTED))
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that registers components.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_components(kinds: tuple[str, ...], plugins: tuple[Path, ...], as_json: bool) -> None:
    """List components: name, parameters with types and defaults, what it is, what was read for it."""
    from oodbench.cli.components import describe, to_lines
    from oodbench.core import registry

    for path in plugins:
        registry.load_plugin(path)
    found = {kind: describe(kind.removesuffix("s")) for kind in kinds or LISTED}
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for kind, components in found.items():
        click.echo("\n".join(to_lines(kind, components)))


@cli.command()
def schema() -> None:
    """Print the JSON schema of a suite file, for editors."""
    from oodbench.suite.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=1))


@cli.command()
@click.argument("plugin", type=click.Path(path_type=Path))
def check(plugin: Path) -> None:
    """Run the contract tests on the components that a file registers."""
    from oodbench.core import registry
    from oodbench.scoring.contract import check as check_component

    before = {kind: set(registry.registry(kind)) for kind in registry.KINDS}
    registry.load_plugin(plugin)
    new = [(kind, name) for kind in registry.KINDS for name in registry.registry(kind) if name not in before[kind]]
    if not new:
        raise UserError(
            f"{plugin}: registers no component; use a decorator such as @oodbench.scorer('name', source='...')"
        )
    complaints = 0
    for kind, name in new:
        found = check_component(kind, name)
        complaints += len(found)
        click.echo(f"{kind} {name}: " + ("keeps the contract" if not found else "breaks the contract"))
        for line in found:
            click.echo(f"  {line}")
    if complaints:
        sys.exit(1)


for _command in (*tables, data):
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
