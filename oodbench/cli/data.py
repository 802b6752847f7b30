"""``oodbench data``: is it here, get it, is it what it was, do sets share images. Parse, call, print; the
room `data` does the work."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodbench.cli.options import data_options
from oodbench.core.errors import UserError, one_line
from oodbench.core.files import replacing
from oodbench.core.names import no_formula
from oodbench.data.sources.roots import settings

if TYPE_CHECKING:
    from oodbench.core.dataset import Pair
    from oodbench.data.duplicates import Twin
    from oodbench.data.needs import Need


@click.group("data")
def commands() -> None:
    """Data sets: what is here, how to get the rest, whether they are whole and unchanged, whether they share
    images.

    NAME is a data set, a pair (pair:NAME) or a suite (its file, its name, or suite:NAME)."""


_NAMES = click.argument("names", nargs=-1, metavar="[NAME...]")


@commands.command("status")
@_NAMES
@data_options
def show_status(names: tuple[str, ...]) -> None:
    """What is here and what is missing: of data sets, pairs, suites, or of everything.

    Exits with status 1 if something named is missing.
    """
    from oodbench.data import needs, status

    found = status.status_of(_needs(names) if names else needs.every_set())
    for line in status.status_lines(found):
        click.echo(line)
    short = [s for s in found if s.state != "here"]
    if short and all(s.need.role == "outliers" for s in short):
        click.echo("all but the outliers is here; only methods that train with outliers need those")
    elif names and short:
        sys.exit(1)


@commands.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_options
def download(names: tuple[str, ...]) -> None:
    """Download what data sets, pairs or suites lack and what can be downloaded; an interrupted download is
    gone on with."""
    from oodbench.data import status
    from oodbench.data.sources.download import watcher

    watcher.set(_progress())
    left = status.download(_needs(names), click.echo)
    if left:
        raise UserError("\n".join(left))
    click.echo("everything is here")


@commands.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--accept", is_flag=True, help="Record changed content in the lock file instead of refusing it."
)
@data_options
def verify(names: tuple[str, ...], accept: bool) -> None:
    """Read and decode every image of data sets, pairs or suites; compare with what the lock file recorded."""
    from oodbench.data import checks

    with settings(watch=partial(click.echo, err=True)):
        verdicts = checks.verify(_needs(names), accept=accept, progress=_progress())
    for line in checks.count_table(verdicts):
        click.echo(line)
    faults = [f for v in verdicts for f in v.faults]
    if faults:
        raise UserError("\n".join(faults))


@commands.command()
@click.argument("name", metavar="PAIR")
@click.option("--out", type=click.Path(path_type=Path), help="Write every finding to a CSV file.")
@click.option(
    "--limit",
    default=0.005,
    show_default=True,
    help="Near twins: 1 - correlation of small grey copies is at most this.",
)
@data_options
def audit(name: str, out: Path | None, limit: float) -> None:
    """Images that stand in two sets of a pair, exactly or nearly: ID train, ID test, OOD."""
    from oodbench.data import duplicates

    for label, pair in _pairs(name):
        if pair.id is None:
            raise UserError(f"{label}: the pair is arrays alone, without images to compare")
        with settings(watch=partial(click.echo, err=True)):
            twins, skipped = duplicates.audit(pair, limit=limit, progress=_progress())
        for line in skipped:
            click.echo(f"skipped {line}", err=True)
        _print_twins(label, twins, 0 if out else 20)
        if out:
            _write_twins(out, twins)
            click.echo(f"{out}: {len(twins)} findings")


def _write_twins(out: Path, twins: Sequence[Twin]) -> None:
    from oodbench.data import duplicates

    rows = [[no_formula(v) if isinstance(v, str) else v for v in twin] for twin in twins]
    try:
        with replacing(out) as draft, open(draft, "w", newline="", encoding="utf-8") as f:
            writer = csv.writer(f)
            writer.writerow(duplicates.Twin._fields)
            writer.writerows(rows)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({one_line(error.strerror or error)})") from None


def _print_twins(label: str, twins: Sequence[Twin], most: int) -> None:
    """How many images two sets share, and the first of them."""
    counts: dict[tuple[str, str], list[int]] = {}
    for t in twins:
        counts.setdefault((t.set_a, t.set_b), [0, 0])[not t.exact] += 1
    for (a, b), (exact, near) in counts.items():
        click.echo(f"{label}: {a} and {b} share {exact} images exactly and {near} nearly")
    for t in twins[:most]:
        kind = "exact" if t.exact else f"near {t.difference:.4f}"
        click.echo(f"  {kind}  {t.set_a}: {t.image_a}  {t.set_b}: {t.image_b}")
    if 0 < most < len(twins):
        click.echo(f"  and {len(twins) - most} more; --out FILE.csv lists them all")
    if not twins:
        click.echo(f"{label}: no image stands in two sets")


def _progress() -> Callable[[str, int, int], None] | None:
    if not sys.stderr.isatty():
        return None

    def show(name: str, done: int, total: int) -> None:
        click.echo(
            f"\r{name}: {done:,} of {f'{total:,}' if total else 'an unknown number'}\x1b[K",
            nl=False,
            err=True,
        )
        if done >= total > 0:
            click.echo("\r\x1b[K", nl=False, err=True)

    return show


def _needs(names: tuple[str, ...]) -> list[Need]:
    """What data sets, pairs and suites need. A name that means several things is the data set's, else the
    pair's."""
    from oodbench.core import registry
    from oodbench.data import needs
    from oodbench.suite import packaged

    found: list[Need] = []
    for name in names:
        if name in registry.datasets:
            found += needs.needs_of_set(name)
            kinds = {"pair": list(registry.pairs), "suite": packaged.names()}
            others = [f"{kind}:{name}" for kind, known in kinds.items() if name in known]
            if others:
                click.echo(f"{name}: the data set; of the same name are {', '.join(others)}", err=True)
        else:
            pairs = _pairs(name, also=list(registry.datasets))
            found += [need for _, pair in pairs for need in needs.of_pair(pair)]
    return found


def _pairs(name: str, also: Sequence[str] = ()) -> list[tuple[str, Pair]]:
    """A pair, or those of a suite, each with what it is called; `also` names what else was allowed."""
    from oodbench.core import registry
    from oodbench.core.errors import meant
    from oodbench.suite import load, packaged

    bare = name.removeprefix("pair:")
    if bare in registry.pairs:
        return [(bare, registry.build("pair", bare))]
    try:
        file = packaged.find(name.removeprefix("suite:"))
    except UserError:
        allowed = [*also, *registry.pairs, *packaged.names()]
        kinds = "data set, pair or suite" if also else "pair or suite"
        raise UserError(f"{name!r} is no {kinds}{meant(name, allowed)}") from None
    return [
        (p.label if p.split is None else f"{p.label} split {p.split}", p.pair)
        for p in load.load_suite(file).pairs
    ]


COMMANDS: tuple[click.Command, ...] = (commands,)
