"""A table of text in the formats people ask for: aligned plain text, CSV, Markdown, LaTeX (booktabs) and
HTML. Whatever stands in a cell is text in all of them, and no command, tag, link, formula or code of a
terminal."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Sequence

from oodbench.core.names import no_formula, visible

FORMATS = ("table", "csv", "md", "latex", "html")

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "Δ": r"$\Delta$",
    "[": "{[}", "]": "{]}", "<": r"\textless{}", "|": r"\textbar{}", ">": r"\textgreater{}", "*": "{*}",
}  # fmt: skip
_MARKDOWN = str.maketrans({ch: f"\\{ch}" for ch in r"\`*_[]|~"})


GROUPED = ("latex", "html")
"""Formats that can write a second line of headings, which span several columns."""


def render(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    style: str = "table",
    *,
    left: int = 1,
    groups: Sequence[tuple[str, int]] = (),
) -> str:
    """The table as text. The first `left` columns are names (flush left), the others numbers (flush right).
    `groups` are headings over the columns after those, each with how many it spans, for the formats in
    GROUPED alone."""
    head, *cells = [[visible(str(cell)) for cell in row] for row in (header, *rows)]
    groups = [(visible(title), span) for title, span in groups]
    if style == "latex":
        return _latex(head, cells, left, groups)
    if style == "html":
        return _html(head, cells, left, groups)
    return _STYLES[style](head, cells, left)


def with_lines(table: str, lines: Sequence[str], style: str) -> str:
    """A table with sentences: below it as text, as a list in Markdown and HTML, in comments above it in
    LaTeX; a CSV stays alone."""
    said = [visible(line) for line in lines]
    if style == "csv":
        return table
    if style == "latex":
        return "\n".join([*(f"% {line}" for line in said), table])
    if style == "md":
        return "\n".join([table, "", *(f"- {_md(line)}" for line in said)])
    if style == "html":
        return "\n".join([table, "<ul>", *(f"<li>{html.escape(line)}</li>" for line in said), "</ul>"])
    return "\n".join([table, "", *said])


def _md(text: str) -> str:
    return html.escape(text, quote=False).translate(_MARKDOWN)


def _plain(header: list[str], rows: list[list[str]], left: int) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    return "\n".join([line(header), line(["-" * w for w in widths]), *map(line, rows)])


def _csv(header: list[str], rows: list[list[str]], left: int) -> str:
    out = io.StringIO()
    lines = [[no_formula(cell) for cell in row] for row in (header, *rows)]
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue().rstrip("\n")


def _markdown(header: list[str], rows: list[list[str]], left: int) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(_md, cells)) + " |"

    rule = "|" + "|".join(":---" if i < left else "---:" for i in range(len(header))) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def _latex(header: list[str], rows: list[list[str]], left: int, groups: Sequence[tuple[str, int]]) -> str:
    def escaped(text: str) -> str:
        return "".join(_LATEX.get(ch, ch) for ch in text)

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(escaped, cells)) + r" \\"

    columns = "l" * left + "r" * (len(header) - left)
    above, rules, at = [""] * left, [], left + 1
    for title, span in groups:
        above.append(rf"\multicolumn{{{span}}}{{c}}{{{escaped(title)}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
        at += span
    spanning = [" & ".join(above) + r" \\", " ".join(rules)] if groups else []
    head = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *spanning, line(header), r"\midrule"]
    return "\n".join([*head, *map(line, rows), r"\bottomrule", r"\end{tabular}"])


def _html(header: list[str], rows: list[list[str]], left: int, groups: Sequence[tuple[str, int]]) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        side = ["", *([""] * (left - 1)), *([" align=right"] * (len(cells) - left))]
        return (
            "<tr>"
            + "".join(f"<{tag}{s}>{html.escape(c)}</{tag}>" for s, c in zip(side, cells, strict=True))
            + "</tr>"
        )

    body = [line("td", row) for row in rows]
    above = "".join(f"<th colspan={span}>{html.escape(title)}</th>" for title, span in groups)
    spanning = [f"<tr><th colspan={left}></th>{above}</tr>"] if groups else []
    return "\n".join(
        [
            "<table>",
            "<thead>",
            *spanning,
            line("th", header),
            "</thead>",
            "<tbody>",
            *body,
            "</tbody>",
            "</table>",
        ]
    )


_STYLES: dict[str, Callable[[list[str], list[list[str]], int], str]] = {
    "table": _plain, "csv": _csv, "md": _markdown,
}  # fmt: skip


def percent(value: float, std: float = float("nan"), digits: int = 2) -> str:
    """A fraction as percent for people, with its spread where it has one: ``88.03 ± 0.25``; nothing for
    NaN."""
    if value != value:
        return ""
    return f"{100 * value:.{digits}f}" + ("" if std != std else f" ± {100 * std:.{digits}f}")


def signed(value: float, digits: int = 2) -> str:
    """A fraction as percent with its sign, a true minus; nothing for NaN."""
    return "" if value != value else f"{100 * value:+.{digits}f}".replace("-", "−")


def p_text(value: float) -> str:
    """A p value for people; nothing for NaN."""
    return "" if value != value else "<0.001" if value < 0.001 else f"{value:.3f}"


def digits(value: float) -> str:
    """A number of no fixed scale (seconds, bytes) with three significant digits and no exponent; nothing for
    NaN."""
    if value != value:
        return ""
    return "< 0.0001" if 0 < value < 1e-4 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
