"""``oodbench data``: is it here, get it, is it what it was, do sets share images. Parse, call, print; the
work is done in `data.py`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodbench.cli.options import data_options
from oodbench.core.errors import UserError

if TYPE_CHECKING:
    from oodbench.core.dataset import Pair
    from oodbench.data.needs import Need


@click.group()
def data() -> None:
    """Data sets: what is here, how to get the rest, whether they are whole and unchanged, whether they share
    images."""


_NAMES = click.argument("names", nargs=-1, metavar="[NAME...]")


@data.command()
@_NAMES
@data_options
def status(names: tuple[str, ...]) -> None:
    """What is here and what is missing: of data sets, pairs, suite files, or of everything.

    Exits with status 1 if something named is missing.
    """
    from oodbench.data.needs import every_set
    from oodbench.data.status import status_lines, status_of

    found = status_of(_needs(names) if names else every_set())
    for line in status_lines(found):
        click.echo(line)
    short = [s for s in found if s.state != "here"]
    if short and all(s.need.role == "outliers" for s in short):
        click.echo("all but the outliers is here; only methods that train with outliers need those")
    elif names and short:
        sys.exit(1)


@data.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_options
def download(names: tuple[str, ...]) -> None:
    """Download what data sets, pairs or suite files lack and what can be downloaded; an interrupted download
    is gone on with."""
    from oodbench.data.sources.download import watcher
    from oodbench.data.status import download as fetch

    watcher.set(_progress())
    left = fetch(_needs(names), click.echo)
    if left:
        raise UserError("\n".join(left))
    click.echo("everything is here")


@data.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--accept", is_flag=True, help="Record changed content in the lock file instead of refusing it."
)
@data_options
def verify(names: tuple[str, ...], accept: bool) -> None:
    """Read and decode every image of data sets, pairs or suite files; compare with what the lock file
    recorded."""
    from oodbench.data.checks import count_table
    from oodbench.data.checks import verify as check

    verdicts = check(_needs(names), accept=accept, progress=_progress())
    for line in count_table(verdicts):
        click.echo(line)
    faults = [f for v in verdicts for f in v.faults]
    if faults:
        raise UserError("\n".join(faults))


@data.command()
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
    from oodbench.data.duplicates import Twin
    from oodbench.data.duplicates import audit as compare

    for label, pair in _pairs(name.removeprefix("pair:")):
        twins, skipped = compare(pair, limit=limit, progress=_progress())
        for line in skipped:
            click.echo(f"skipped {line}", err=True)
        counts: dict[tuple[str, str], list[int]] = {}
        for t in twins:
            counts.setdefault((t.set_a, t.set_b), [0, 0])[not t.exact] += 1
        for (a, b), (exact, near) in counts.items():
            click.echo(f"{label}: {a} and {b} share {exact} images exactly and {near} nearly")
        for t in twins[: 0 if out else 20]:
            kind = "exact" if t.exact else f"near {t.difference:.4f}"
            click.echo(f"  {kind}  {t.set_a}: {t.image_a}  {t.set_b}: {t.image_b}")
        if not out and len(twins) > 20:
            click.echo(f"  and {len(twins) - 20} more; --out FILE.csv lists them all")
        if not twins:
            click.echo(f"{label}: no image stands in two sets")
        if out:
            with open(out, "w", newline="", encoding="utf-8") as f:
                writer = csv.writer(f)
                writer.writerow(Twin._fields)
                writer.writerows(twins)
            click.echo(f"{out}: {len(twins)} findings")


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
    """What data sets, pairs and suite files need; of a name that is both, the data set's (``pair:NAME`` is
    the pair)."""
    from oodbench.core import registry
    from oodbench.core.errors import meant
    from oodbench.data.needs import needs_of_set, of_pair

    found: list[Need] = []
    for name in names:
        if name in registry.datasets:
            found += needs_of_set(name)
            if name in registry.pairs:
                click.echo(f"{name}: the data set; the pair of that name is pair:{name}", err=True)
        elif name.endswith((".yaml", ".yml")) or name.removeprefix("pair:") in registry.pairs:
            for _, pair in _pairs(name.removeprefix("pair:")):
                found += of_pair(pair)
        else:
            raise UserError(
                f"{name!r} is no data set, pair or suite"
                f" file{meant(name, [*registry.datasets, *registry.pairs])}"
            )
    return found


def _pairs(name: str) -> list[tuple[str, Pair]]:
    from oodbench.core import registry
    from oodbench.core.errors import meant

    if name.endswith((".yaml", ".yml")):
        from oodbench.suite.load import load_suite

        return [
            (p.label if p.split is None else f"{p.label} split {p.split}", p.pair)
            for p in load_suite(Path(name)).pairs
        ]
    if name not in registry.pairs:
        raise UserError(f"{name!r} is no pair or suite file{meant(name, list(registry.pairs))}")
    return [(name, registry.build("pair", name))]
