"""One self-contained HTML page of results: no network, no build step; every name in it is text, never markup.

The page is a template, a style sheet and a script beside this file in ``templates``, filled with one JSON
object; the script runs under a content security policy that allows its own hash and nothing else, and no
request to anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.report import distributions
from oodbench.report.comparison import beside
from oodbench.report.page import cells as pagedata
from oodbench.report.page.per_sample import Pictures

if TYPE_CHECKING:
    import pandas as pd


def render(
    rows: pd.DataFrame,
    board: pd.DataFrame,
    samples: pd.DataFrame | None = None,
    *,
    title: str = "",
    suite_text: str = "",
    environment: Mapping[str, Any] | None = None,
    timing: pd.DataFrame | None = None,
    pictures: Pictures | None = None,
    claims: pd.DataFrame | None = None,
) -> str:
    """The page as HTML text.

    `rows` are those of results.csv, `board` their leaderboard, `samples` the per-sample frame of `plots`
    (with the column `index` where images are wanted), `timing` that of timing.csv, `claims` the verdicts of
    `claims.judge`. Without samples the page says so and leaves out what needs them."""
    import jinja2

    import oodbench

    data = pagedata.text(
        rows,
        board,
        distributions.compact(samples) if samples is not None and len(samples) else None,
        timing,
        pictures,
    )
    environment = dict(environment or {})
    command = str(environment.pop("command", ""))
    blocks = [
        ("Command", command), ("Published figures beside these", _figures(board, suite_text)),
        ("Suite", suite_text),
        ("Environment", "\n".join(f"{k}: {v}" for k, v in sorted(environment.items()))),
        ("Runs and their keys", _keys(rows)),
    ]  # fmt: skip
    read = (files("oodbench.report.page") / "templates").joinpath
    script = read("charts.js").read_text("utf-8") + read("page.js").read_text("utf-8")
    engine = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = engine.from_string(read("report.html.j2").read_text("utf-8"))
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template.render(
        title=title or ", ".join(dict.fromkeys(map(str, board["suite"]))) or "results",
        lede=_lede(rows, board), data=data,
        script=script, script_sha256=sha256, css=read("report.css").read_text("utf-8"),
        blocks=[b for b in blocks if b[1].strip()],
        claims=_claims(claims), footer=f"oodbench {oodbench.__version__}",
    )  # fmt: skip


def _figures(board: pd.DataFrame, suite_text: str) -> str:
    """The suite's reference figures beside ours; a results folder that holds no suite has none."""
    import yaml

    try:
        suites = [s for s in yaml.safe_load_all(suite_text) if isinstance(s, dict)]
    except yaml.YAMLError:
        return ""
    figures = [f for s in suites for f in s.get("reference") or ()]
    return beside(board, figures) if figures else ""


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
    """Each claim with its overall verdict and its cells, as the template writes them."""
    found: list[dict[str, Any]] = []
    for _, mine in verdicts.groupby("claim", sort=False) if verdicts is not None and len(verdicts) else ():
        (overall,) = mine[mine["level"] == "overall"].to_dict("records")
        cells = [
            {
                "where": " · ".join(str(c[k]) for k in ("pair", "network", "shift", "scorer") if c[k]),
                "verdict": c["verdict"],
                "difference": f"{c['difference']:+.4f}" if c["n"] else "–",
                "n": f"{c['n']} {c['unit']}{'s' if c['n'] != 1 else ''}",
                "interval": f"{c['low']:+.4f} to {c['high']:+.4f}" if c["n"] > 1 else "–",
                "p": f"{c['p_adjusted']:.3g}" if c["n"] > 1 else "–",
                "needed": (
                    str(int(c["needed"])) if c["needed"] == c["needed"] and c["needed"] is not None else ""
                ),
            }
            for c in mine[mine["level"] == "cell"].to_dict("records")
        ]
        found.append({**{str(k): v for k, v in overall.items()}, "cells": cells})
    return found


def _keys(rows: pd.DataFrame) -> str:
    runs = rows[["run_key", "pair", "split", "network", "method", "seed"]].drop_duplicates()
    return "\n".join(
        f"{r.run_key}  {r.pair} split={r.split} {r.network} {r.method} seed={r.seed}"
        for r in runs.itertuples()
    )
