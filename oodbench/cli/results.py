"""Commands on results that are there already: leaderboard, compare, merge, verify, report. Parse, call,
print; no logic."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from oodbench.cli.options import plugin_option
from oodbench.core.errors import UserError
from oodbench.core.names import visible
from oodbench.report.formats import FORMATS

_PATH = click.Path(path_type=Path)
_where = click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only rows that meet it; KEY!=VALUE, * and ? too. May be repeated.",
)
_format = click.option("--format", "style", type=click.Choice(FORMATS), default="table", show_default=True)
_store = click.option(
    "--store", help="Folder or URL of stored artefacts.  [default: .store beside the results folder]"
)


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(v.strip() for v in value.split(",") if v.strip()) if value else ()


@click.command("leaderboard")
@click.argument("results", nargs=-1, required=True, type=_PATH, metavar="RESULTS...")
@click.option(
    "--by", help="Rank by this column.  [default: near_auroc, or far_auroc where there is no near set]"
)
@click.option("--show", callback=_names, help="Columns to print, with commas between.")
@click.option(
    "--costs",
    "with_costs",
    is_flag=True,
    help="Cost columns too, from timing.csv: seconds, passes, bytes, and what is read.",
)
@_where
@plugin_option
@_format
def print_leaderboard(
    results: tuple[Path, ...],
    by: str | None,
    show: tuple[str, ...],
    with_costs: bool,
    conditions: tuple[str, ...],
    plugins: tuple[Path, ...],
    style: str,
) -> None:
    """Print the ranked table of one or several results folders."""
    from oodbench.evaluation import costs, leaderboard, rows
    from oodbench.report import comparison, text
    from oodbench.runs import reopen

    selected = rows.where(rows.read(results), conditions)
    figures = [f for path in results for f in reopen.figures_of(path)]
    spent = reopen.costs(results, selected, plugins) if with_costs else None
    board, columns = leaderboard.over_trials(selected, by=by), show or text.shown_by(by)
    if spent is not None:
        board, columns = costs.beside(board, spent), (*columns, *costs.SPENT)
    click.echo(text.to_text(board, style, columns))
    beside = comparison.beside(board, figures, style) if style != "csv" else ""
    if beside:
        click.echo("\n" + beside)


@click.command("ranks")
@click.argument("results", nargs=-1, required=True, type=_PATH, metavar="RESULTS...")
@click.option(
    "--of",
    type=click.Choice(("method", "scorer", "network")),
    default="scorer",
    show_default=True,
    help="What to rank.",
)
@click.option("--value", default="near_auroc", show_default=True, help="By which column of the leaderboard.")
@_where
@_format
def print_ranks(
    results: tuple[Path, ...], of: str, value: str, conditions: tuple[str, ...], style: str
) -> None:
    """Average ranks over pairs and splits: Friedman, Nemenyi, Conover-Holm, wins, ties and losses."""
    from oodbench.evaluation import rows
    from oodbench.report import ranks

    click.echo(ranks.to_text(rows.where(rows.read(results), conditions), of, value, style))


@click.command("compare")
@click.argument("a", type=_PATH, metavar="A")
@click.argument("b", type=_PATH, metavar="[B]", required=False)
@_where
@click.option("--where-b", "conditions_b", multiple=True, metavar="KEY=VALUE", help="The same for B.")
@click.option(
    "--match",
    callback=_names,
    help="Keys by which rows are matched.  [default: method,scorer, without those of --where-b]",
)
@click.option(
    "--values",
    callback=_names,
    default="near_auroc,far_auroc,id_accuracy",
    show_default=True,
    help="Values to compare.",
)
@click.option(
    "--runs", type=click.IntRange(2), default=3, show_default=True, help="Runs behind a published std."
)
@click.option(
    "--tests",
    is_flag=True,
    help="Every test of every matched row, and what the samples say (DeLong, bootstrap).",
)
@_store
@click.option("--store-b", help="The same for B.")
@plugin_option
@_format
def print_comparison(
    a: Path, b: Path | None, conditions: tuple[str, ...], conditions_b: tuple[str, ...],
    match: tuple[str, ...], values: tuple[str, ...],
    runs: int, tests: bool, store: str | None, store_b: str | None, plugins: tuple[Path, ...], style: str,
) -> None:  # fmt: skip
    """Compare results with other results, with a published table (CSV), or rows of one folder with one
    another.

    Without B, rows of A that meet --where stand against those that meet --where-b; without that, against the
    suite's reference figures."""
    from oodbench.evaluation import comparison, evidence, reference
    from oodbench.report.comparison import document
    from oodbench.report.evidence import lines
    from oodbench.runs import reopen

    groups = (
        comparison.groups(a, b, conditions, conditions_b)
        if b or conditions_b
        else reference.groups(a, reopen.figures_of(a), conditions)
    )
    by = match or comparison.matched_by(b, conditions_b)
    matches = comparison.between(*groups, comparison.known(values), by=by, runs=runs)
    if tests:
        whole = (
            reopen.with_samples(groups[0], a, store, plugins),
            reopen.with_samples(groups[1], b or a, store_b or store, plugins),
        )
        for m in matches:
            told = lines(*whole, m, values, evidence.on_samples(*whole, m))
            click.echo("\n".join(map(visible, told)) + "\n")
    click.echo(document(*groups, matches, values, style))


@click.command("merge")
@click.argument("folders", nargs=-1, required=True, type=_PATH, metavar="FOLDER...")
@click.option("-o", "--into", required=True, type=_PATH, help="Folder for the merged results.")
@plugin_option
def merge_folders(folders: tuple[Path, ...], into: Path, plugins: tuple[Path, ...]) -> None:
    """Put results of one suite, made on several machines, together in one folder.

    It gets the tables (the long ones compressed), the claims and the page, without pictures. Of one folder it
    makes a light copy to publish. Views of single samples need the store beside each folder."""
    from oodbench.runs import merge

    rows = merge.folders(folders, into, plugins)
    count = f"{len(rows)} rows of {rows['run_key'].nunique()} runs from {len(folders)} folders"
    click.echo(f"{visible(str(into))}: {count}")


@click.command("report")
@click.argument("results", nargs=-1, required=True, type=_PATH, metavar="RESULTS...")
@click.option(
    "-o", "--output", default="report.html", show_default=True, type=_PATH, help="The page to write."
)
@click.option(
    "--plots", is_flag=True, help="Draw every picture too, as PNG and SVG, under plots/ of each folder."
)
@_store
@plugin_option
def write_report(
    results: tuple[Path, ...], output: Path, plots: bool, store: str | None, plugins: tuple[Path, ...]
) -> None:
    """Write the page: one HTML file that needs no network."""
    from oodbench.core.files import replace
    from oodbench.runs import pages

    text, missing = pages.report(results, store, plugins, plots=plots)
    replace(output, text)
    for line in missing:
        click.echo(visible(line), err=True)
    click.echo(f"{visible(str(output))}: {len(text.encode()) / 1e6:.2f} MB")


@click.command("verify")
@click.argument("results", type=_PATH, metavar="RESULTS")
@click.option("--scores", is_flag=True, help="Make every score again from the stored outputs, too.")
@click.option(
    "--outputs", is_flag=True, help="Extract every output again from the stored weights, too, and the scores."
)
@click.option(
    "--device", default="cpu", show_default=True, help="Where to make them: cpu, cuda, cuda:N, mps."
)
@_store
@plugin_option
def verify_folder(
    results: Path, scores: bool, outputs: bool, device: str, store: str | None, plugins: tuple[Path, ...]
) -> None:
    """Check a results folder: tables, page, pictures, metrics, keys, checksums, suite, versions; what holds,
    what is contradicted, what cannot be checked."""
    from oodbench.runs import findings, machine, verify

    again = [name for name, asked in (("scores", scores), ("outputs", outputs)) if asked]
    found = verify.folder(results, store, plugins, remake=again, device=machine.pick_device(device))
    click.echo("\n".join(findings.to_lines(found)))
    if any(f.state == findings.CONTRADICTED for f in found):
        sys.exit(1)


@click.command("claims")
@click.argument("results", type=click.Path(path_type=Path))
@plugin_option
def judge_claims(results: Path, plugins: tuple[Path, ...]) -> None:
    """Judge the claims of a results folder's suite by its rows; print the verdicts and write claims.csv."""
    from oodbench.core.files import replace
    from oodbench.evaluation.csv_text import to_csv
    from oodbench.report import text
    from oodbench.runs import folder, reopen

    here = folder.ResultsFolder.of(results)
    suite = reopen.suite_of(here.path, plugins)
    if not suite.claims:
        raise UserError(
            f"{here.path / folder.SUITE}: states no claims; write them under `claims:` in the suite"
        )
    judged = folder.verdicts_of(here.rows(), suite)
    replace(here.path / folder.CLAIMS, to_csv(judged))
    click.echo(text.claims_to_text(judged))


COMMANDS: tuple[click.Command, ...] = (
    print_leaderboard, print_ranks, print_comparison, judge_claims, merge_folders, verify_folder, write_report
)  # fmt: skip
