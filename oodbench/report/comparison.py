"""A comparison as a table for people, papers and programs, with what it adds up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.core.errors import UserError
from oodbench.evaluation import comparison, statistics
from oodbench.evaluation.comparison import Difference, Group, Match, once, plain_key
from oodbench.evaluation.metrics.columns import VALUES, label, lower_is_better
from oodbench.evaluation.reference import group_of
from oodbench.report import formats

if TYPE_CHECKING:
    import pandas as pd

_YES = {True: "yes", False: "no", None: ""}


def to_text(a: Group, b: Group, matches: Sequence[Match], values: Sequence[str], style: str = "table") -> str:
    """The comparison as a table in one of `formats.FORMATS`: both values and A - B with its 95 % interval, in
    percent; against a published table whether A lies within its std, else p, Holm-adjusted over the rows.
    CSV: fractions, one line per row and value, every test."""
    names = _names(matches)
    if style == "csv":
        return _tidy(matches, values)
    header = [h for n in names for h in ([n] if _agree(matches, n) else [f"{n} A", f"{n} B"])]
    left = len(header)
    last = "within std of B" if b.published else "p (Holm)"
    grouped = style in formats.GROUPED
    for value in values:
        header += ["A" if grouped else f"{label(value)} A", "B", "A − B [95 %]", last]
    body = []
    for m in matches:
        line = [
            t for n in names for t in ([str(m.a[n])] if _agree(matches, n) else [str(m.a[n]), str(m.b[n])])
        ]
        for value in values:
            d = m.differences.get(value)
            line += [
                formats.percent(float(r.get(value, np.nan)), float(r.get(f"{value}_std", np.nan)))
                for r in (m.a, m.b)
            ]
            if d is None or d.value != d.value:
                line += ["", ""]
                continue
            interval = "" if d.low != d.low else f" [{formats.signed(d.low)}, {formats.signed(d.high)}]"
            line += [
                formats.signed(d.value) + interval,
                _YES[_within(m, value)] if b.published else formats.p_text(d.p_holm),
            ]
        body.append(line)
    return formats.render(header, body, style, left=left, groups=[(label(value), 4) for value in values])


def _columns(matches: Sequence[Match], values: Sequence[str]) -> Sequence[str]:
    """The values without those that are one comparison for all of several rows (the accuracy of one network);
    if all are, all."""
    varied = [value for value in values if [len(group) for group in once(matches, value)] != [len(matches)]]
    return varied if varied and len(matches) > 1 else values


def _names(matches: Sequence[Match]) -> list[str]:
    """The keys that tell rows apart; what is the same in every row stands below the table."""
    named: list[str] = [
        k for k in ("pair", "pair_params", "network", "tune", "method", "scorer") if k in _keys(matches)
    ]
    varied = [
        k
        for k in named
        if len({plain_key(k, m.a[k]) for m in matches}) > 1
        or len({plain_key(k, m.b[k]) for m in matches}) > 1
    ]
    return varied or ["method", "scorer"]


def _same(matches: Sequence[Match], at: int) -> str:
    """What every row of a group has in common, in words."""
    named = [
        k
        for k in ("pair", "network", "tune", "method", "scorer")
        if k in _keys(matches) and k not in _names(matches)
    ]
    common = {k: str(matches[0][at][k]) for k in named} if matches else {}
    return "".join(f", {k} {v}" for k, v in common.items() if v and (k, v) != ("tune", "none"))


def _keys(matches: Sequence[Match]) -> set[str]:
    return set(matches[0].a) & set(matches[0].b) if matches else set()


def _agree(matches: Sequence[Match], name: str) -> bool:
    return all(plain_key(name, m.a[name]) == plain_key(name, m.b[name]) for m in matches)


def _within(m: Match, value: str) -> bool | None:
    """Whether A lies within B's std of B; None where B has none."""
    std, d = float(m.b.get(f"{value}_std", np.nan)), m.differences[value].value
    return None if std != std or d != d else abs(d) <= std


def _tidy(matches: Sequence[Match], values: Sequence[str]) -> str:
    named = [k for k in ("pair", "network", "tune", "method", "scorer") if k in _keys(matches)]
    fields = [f for f in Difference._fields if f != "value"]
    header = [
        *(f"{k}_{s}" for k in named for s in "ab"),
        "value",
        "a",
        "a_std",
        "b",
        "b_std",
        "difference",
        *fields,
        "within_std",
    ]
    body = []
    for m in matches:
        for value, d in m.differences.items():
            if value in values:
                numbers = [r.get(c, np.nan) for r in (m.a, m.b) for c in (value, f"{value}_std")]
                line = [str(r[k]) for k in named for r in (m.a, m.b)] + [
                    value,
                    *map(_plain_number, [*numbers, *d]),
                ]
                body.append([*line, _YES[_within(m, value)]])
    return formats.render(header, body, "csv")


def _plain_number(value: Any) -> str:
    return value if isinstance(value, str) else "" if value != value else f"{value:.6g}"


def summary(a: Group, b: Group, matches: Sequence[Match], values: Sequence[str]) -> list[str]:
    """What the table adds up to, a line each: how many rows match, agree, differ, and are ordered alike."""
    lines = [
        f"{letter}: {group.name}{_same(matches, i)}" for i, (letter, group) in enumerate((("A", a), ("B", b)))
    ]
    rows = "1 row" if len(matches) == 1 else f"{len(matches)} rows"
    lines.append(f"{rows} matched, of {len(a.board)} of A and {len(b.board)} of B")
    for value in values:
        found = [(group[0], group[0].differences[value]) for group in once(matches, value)]
        if len(found) == 1 and value not in _columns(matches, values):
            lines.append(f"{label(value)}: {_alone(b, value, *found[0])}")
        elif found:
            lines.append(f"{label(value)}: " + "; ".join(_summed(b, value, found)))
    units = {d.unit for m in matches for d in m.differences.values()} - {""}
    if units == {"seed"}:
        lines.append("One split: seeds are the sample, and every p and interval speaks of that split alone.")
    elif "split" in units:
        lines.append(
            "Splits are the sample (seeds averaged within each); every p and interval speaks of further"
            " splits."
        )
    return lines


def _alone(b: Group, value: str, m: Match, d: Difference) -> str:
    """One comparison in words, where it stands for all rows."""
    a, other = (formats.percent(float(r[value]), float(r.get(f"{value}_std", np.nan))) for r in (m.a, m.b))
    interval = "" if d.low != d.low else f" [95 % {formats.signed(d.low)} to {formats.signed(d.high)}]"
    within = _within(m, value) if b.published else None
    verdict = f"; {'within' if within else 'not within'} the published std" if within is not None else ""
    p = f"; p = {formats.p_text(d.p)}" if d.p == d.p and not b.published else ""
    return (
        f"A {a}, B {other}, A − B {formats.signed(d.value)}{interval}{verdict}{p} (one comparison for all"
        " rows)"
    )


def _summed(b: Group, value: str, found: Sequence[tuple[Match, Difference]]) -> Iterable[str]:
    yield f"mean difference {formats.signed(float(np.mean([d.value for _, d in found])))}"
    if b.published:
        known = [w for m, _ in found if (w := _within(m, value)) is not None]
        yield f"{sum(known)} of {len(known)} within the published std"
    sure = [d for _, d in found if d.p_holm == d.p_holm]
    if sure:
        yield f"{sum(d.p_holm < 0.05 for d in sure)} of {len(sure)} differ at 5 % (Holm over these)"
    better = [-d.value if lower_is_better(value) else d.value for _, d in found]
    by_pair: dict[str, list[float]] = {}
    for (m, _), d in zip(found, better, strict=True):
        by_pair.setdefault(str(m.a["pair"]), []).append(d)
    if len(by_pair) > 1:
        means = [float(np.mean(v)) for v in by_pair.values()]
        wins, losses = sum(v > 0 for v in means), sum(v < 0 for v in means)
        yield (
            f"A better on {wins}, worse on {losses} of {len(means)} pairs (sign test p ="
            f" {statistics.sign_test(wins, losses):.3f})"
        )
    elif len(better) > 1:
        wins, losses = sum(v > 0 for v in better), sum(v < 0 for v in better)
        yield (
            f"A better in {wins}, worse in {losses} of {len(better)} (of one pair, which share its networks:"
            " no test)"
        )
    if len(found) > 2:
        from scipy.stats import spearmanr

        x, y = (
            [float(row[value]) for row in pair] for pair in zip(*((m.a, m.b) for m, _ in found), strict=True)
        )
        if len(set(x)) > 1 and len(set(y)) > 1:
            yield f"Spearman's rank correlation {float(spearmanr(x, y).statistic):.2f}"


def document(
    a: Group, b: Group, matches: Sequence[Match], values: Sequence[str], style: str = "table"
) -> str:
    """The table with what it adds up to: below it as text, as a list in Markdown and HTML, in comments in
    LaTeX; CSV is the table. What is one comparison for all rows (the accuracy of one network) is a line and
    no column."""
    if not matches:
        raise UserError(
            f"no row of {a.name} matches one of {b.name}; they have the methods {_some(a)} and {_some(b)}"
        )
    if style == "csv":
        return to_text(a, b, matches, values, style)
    text = to_text(a, b, matches, _columns(matches, values), style)
    return formats.with_lines(text, summary(a, b, matches, values), style)


def _some(group: Group) -> str:
    names = list(dict.fromkeys(map(str, group.board["method"])))
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def beside(board: pd.DataFrame, figures: Sequence[Mapping[str, Any]], style: str = "table") -> str:
    """Our means beside the figures, with their sources, as text; empty where no row of the board has one."""
    if not figures:
        return ""
    board = board[(board["condition"] == "clean") & (board["id_set"] == "id")]
    ours, theirs = Group("ours", board, None), group_of(figures, board)
    values = [v for v in VALUES if v in theirs.board and v in board]
    matches = comparison.between(ours, theirs, values) if values else []
    if not matches:
        return ""
    sources = "; ".join(dict.fromkeys(str(f["source"]) for f in figures))
    text = to_text(ours, theirs, matches, values, style)
    return formats.with_lines(text, [f"A: ours; B: reference ({sources})"], style)
