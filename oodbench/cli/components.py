"""Commands on components: list them (and the suites of the package), the schema of a suite, the contract of a
user's own."""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from oodbench.cli import suites
from oodbench.cli.options import plugin_option
from oodbench.core.errors import UserError


def describe(kind: str) -> list[dict[str, Any]]:
    """Every component of a kind: name, parameters, one line, source; for scorers what they need and their
    search space, for pairs what their author wants known."""
    from oodbench.core import registry
    from oodbench.core.scorer import Scorer

    found = []
    for name in registry.of_kind(kind):
        c = registry.of_kind(kind)[name]
        entry: dict[str, Any] = {
            "name": name, "summary": c.summary, "source": c.source, "version": c.version,
            "parameters": [{"name": n, "type": t, "default": d} for n, t, d in c.signature],
        }  # fmt: skip
        if kind == "scorer" and inspect.isclass(c.target) and issubclass(c.target, Scorer):
            needs = c.target.needs
            entry["needs"] = sorted(needs) if isinstance(needs, frozenset) else "depends on its parameters"
            entry["search"] = {k: list(v) for k, v in c.target.search.items()}
        if kind == "pair" and all(p["default"] != "required" for p in entry["parameters"]):
            entry["note"] = registry.build("pair", name).note
        found.append(entry)
    return found


def to_lines(kind: str, components: Sequence[Mapping[str, Any]]) -> list[str]:
    """The listing for people."""
    lines = [f"{kind} ({len(components)})"]
    for c in components:
        parameters = ", ".join(
            f"{p['name']}: {p['type']}" + ("" if p["default"] == "required" else f" = {p['default']}")
            for p in c["parameters"]
        )
        lines.append(f"  {c['name']}" + (f"  ({parameters})" if parameters else ""))
        lines += textwrap.wrap(c["summary"], 110, initial_indent="      ", subsequent_indent="      ")
        if c.get("note"):
            lines += textwrap.wrap(
                f"note: {c['note']}", 110, initial_indent="      ", subsequent_indent="      "
            )
        if c.get("needs"):
            needs = c["needs"] if isinstance(c["needs"], str) else ", ".join(c["needs"])
            lines.append(f"      needs: {needs}")
        if c.get("search"):
            lines.append("      search: " + "; ".join(f"{k} in {v}" for k, v in c["search"].items()))
        if c["source"]:
            lines += textwrap.wrap(
                f"source: {c['source']}", 110, initial_indent="      ", subsequent_indent="      "
            )
    return lines


LISTED = ("datasets", "pairs", "networks", "methods", "scorers", "views", "augmentations", "suites")


@click.command("list")
@click.argument("kinds", nargs=-1, type=click.Choice(LISTED))
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_components(kinds: tuple[str, ...], plugins: tuple[Path, ...], as_json: bool) -> None:
    """List components: name, parameters with types and defaults, what it is, what was read for it; and the
    suites of the package: what they ask, which data they need."""
    from oodbench.core import registry

    for path in plugins:
        registry.load_plugin(path)
    found = {
        k: suites.describe() if k == "suites" else describe(k.removesuffix("s")) for k in kinds or LISTED
    }
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for kind in found:
        click.echo(
            "\n".join(suites.to_lines(found[kind]) if kind == "suites" else to_lines(kind, found[kind]))
        )


@click.command()
def schema() -> None:
    """Print the JSON schema of a suite file, for editors."""
    from oodbench.suite.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=1))


@click.command()
@click.argument("plugin", type=click.Path(path_type=Path))
def check(plugin: Path) -> None:
    """Run the contract tests on the components that a file registers."""
    from oodbench.core import registry
    from oodbench.scoring import contract

    before = {kind: set(registry.of_kind(kind)) for kind in registry.KINDS}
    registry.load_plugin(plugin)
    new = [
        (kind, name) for kind in registry.KINDS for name in registry.of_kind(kind) if name not in before[kind]
    ]
    if not new:
        raise UserError(
            f"{plugin}: registers no component; use a decorator such as @oodbench.scorer('name',"
            " source='...')"
        )
    complaints = 0
    for kind, name in new:
        found = contract.check(kind, name)
        complaints += len(found)
        click.echo(f"{kind} {name}: " + ("keeps the contract" if not found else "breaks the contract"))
        for line in found:
            click.echo(f"  {line}")
    if complaints:
        sys.exit(1)


COMMANDS: tuple[click.Command, ...] = (list_components, schema, check)
