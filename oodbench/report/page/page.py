"""One self-contained HTML page of results: no network, no build step; every name in it is text, never markup.

The page is a template, a style sheet and a script beside this file in ``templates``, filled with one JSON
object; the script runs under a content security policy that allows its own hash and nothing else, and no
request to anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.evaluation.large import group_ids
from oodbench.report import distributions
from oodbench.report.comparison import beside
from oodbench.report.page import cells
from oodbench.report.page.per_sample import Pictures

if TYPE_CHECKING:
    import pandas as pd


MOST_RUNS = 4_000
"""Of runs whose keys a page lists."""


@dataclass(frozen=True)
class About:
    """Where results come from: the suite's file, the machine and the command, published figures to stand
    beside."""

    suite: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    figures: Sequence[Mapping[str, Any]] = ()


def render(
    rows: pd.DataFrame,
    board: pd.DataFrame,
    samples: pd.DataFrame | None = None,
    *,
    about: About = About(),
    costs: pd.DataFrame | None = None,
    pictures: Pictures | None = None,
    claims: pd.DataFrame | None = None,
) -> str:
    """The page as HTML text.

    Args:
        rows: those of results.csv.
        board: their leaderboard.
        samples: the per-sample frame of `plots`, with the column `index` where images are wanted. Without it
            the page says so and leaves out what needs it.
        about: the suite and the machine.
        costs: what `costs.of_rows` finds for these rows.
        pictures: reads images of the sets.
        claims: the verdicts of `verdicts.judge`.
    """
    import jinja2

    import oodbench

    whole = distributions.compact(samples) if samples is not None and len(samples) else None
    data = cells.text(rows, board, whole, costs, pictures)
    environment = dict(about.environment)
    command = str(environment.pop("command", ""))
    blocks = [
        ("Command", command), ("Published figures beside these", beside(board, about.figures)),
        ("Suite", about.suite),
        ("Environment", "\n".join(f"{k}: {v}" for k, v in sorted(environment.items()))),
        ("Runs and their keys", _keys(rows)),
    ]  # fmt: skip
    read = (files("oodbench.report.page") / "templates").joinpath
    script = read("charts.js").read_text("utf-8") + read("page.js").read_text("utf-8")
    engine = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = engine.from_string(read("report.html.j2").read_text("utf-8"))
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template.render(
        title=", ".join(dict.fromkeys(map(str, board["suite"]))) or "results",
        lede=_lede(rows, board), data=data,
        script=script, script_sha256=sha256, css=read("report.css").read_text("utf-8"),
        blocks=[b for b in blocks if b[1].strip()],
        claims=_claims(claims), footer=f"oodbench {oodbench.__version__}",
    )  # fmt: skip


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def _lede(rows: pd.DataFrame, board: pd.DataFrame) -> str:
    named = [(board[c].replace("", np.nan).nunique(), c) for c in ("pair", "network", "method", "scorer")]
    failed = int((rows["status"] == "failed").sum())
    return (
        ", ".join(_count(n, what) for n, what in named if n)
        + f"; {_count(len(rows), 'row')}, {failed} failed."
    )


def _claims(verdicts: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Each claim with its overall verdict and its cells, as the template writes them. The overall verdict
    stands below its cells; several folders may state one claim."""
    found: list[dict[str, Any]] = []
    cells: list[dict[str, str]] = []
    for record in verdicts.to_dict("records") if verdicts is not None else ():
        if record["level"] == "cell":
            cells.append(_cell_of_claim(record))
        else:
            found.append({**{str(k): v for k, v in record.items()}, "cells": cells})
            cells = []
    return found


def _cell_of_claim(c: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "where": " · ".join(str(c[k]) for k in ("pair", "network", "shift", "scorer") if c[k]),
        "verdict": c["verdict"],
        "difference": f"{c['difference']:+.4f}" if c["n"] else "–",
        "n": f"{c['n']} {c['unit']}{'s' if c['n'] != 1 else ''}",
        "interval": f"{c['low']:+.4f} to {c['high']:+.4f}" if c["n"] > 1 else "–",
        "p": f"{c['p_adjusted']:.3g}" if c["n"] > 1 else "–",
        "needed": str(int(c["needed"])) if c["needed"] == c["needed"] and c["needed"] is not None else "",
    }


def _keys(rows: pd.DataFrame) -> str:
    keys = rows[["run_key", "pair", "split", "network", "method", "seed"]]
    run = group_ids([keys[name] for name in keys])
    first = np.unique(run, return_index=True)[1]
    lines = [
        f"{r.run_key}  {r.pair} split={r.split} {r.network} {r.method} seed={r.seed}"
        for r in keys.iloc[first[:MOST_RUNS]].itertuples()
    ]
    more = len(first) - len(lines)
    return "\n".join([*lines, *([f"and {more:,} more runs: see results.csv"] if more else [])])
