"""``oodbench run``: train what is missing, score, write tables and page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from oodbench.cli.options import data_options, plugin_option
from oodbench.core.errors import UserError


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


@click.command()
@click.argument("suites", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SUITE...")
@click.option(
    "--results",
    default="results",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for result files.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder of stored artefacts (may be shared).  [default: <results>/.store]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--seeds", type=_Integers(), help="Seeds instead of the suite's.")
@click.option("--splits", type=_Integers(), help="Only the pairs at these splits.")
@plugin_option
@click.option(
    "--skip-missing", is_flag=True, help="Leave out data sets that are not here instead of stopping."
)
@click.option(
    "--dry-run", is_flag=True, help="Print every artefact with its key, stored or missing; do no work."
)
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
    from oodbench.runs.machine import pick_device
    from oodbench.runs.runner import assist
    from oodbench.runs.runner import run as run_suite
    from oodbench.runs.store import Store
    from oodbench.suite.load import load_suite
    from oodbench.suite.plan import artefacts, make_plan
    from oodbench.training.processes import assisting

    reporter = Reporter(quiet)
    pick_device(device)
    loaded = [load_suite(file, plugins).restricted(seeds, splits) for file in suites]
    names = [s.name for s in loaded]
    if len(set(names)) < len(names):
        raise UserError(
            f"two suites have the name {next(n for n in names if names.count(n) > 1)!r}; their results would"
            " overwrite each other"
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
                f"{suite.name}: {len(plan.runs)} runs, {sum(f[0] for f in found)} of {len(found)} artefacts"
                " stored"
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
    from oodbench.report.text import to_text

    click.echo(to_text(done.leaderboard))
    if len(done.claims):
        from oodbench.report.text import claims_to_text

        click.echo(claims_to_text(done.claims))
    made = ", ".join(f"{n} {kind}" for kind, n in done.made.items())
    click.echo(
        f"made: {made}\nfiles: {done.folder}/ (leaderboard.csv, results.csv, timing.csv, history.csv,"
        " suite.yaml, report.html, plots/)"
    )
