"""Tables of text, read back by other programs; numbers as people read them."""

from __future__ import annotations

import csv
import io
import math
import re
from html.parser import HTMLParser

import pytest

from oodbench.report import formats

HEADER = ["name", "value"]
ROWS = [["a,b|c", "1.5"], ["<b>&\\_%$#{}~^", "−2"], ["[x]", '"q"']]


class Cells(HTMLParser):
    """The text of every cell, row by row, as a browser reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data


def test_csv_and_html_are_read_back_as_they_were() -> None:
    assert list(csv.reader(io.StringIO(formats.render(HEADER, ROWS, "csv")))) == [HEADER, *ROWS]
    parser = Cells()
    parser.feed(formats.render(HEADER, ROWS, "html"))
    assert parser.rows == [HEADER, *ROWS]


def test_plain_text_is_aligned_names_left_numbers_right() -> None:
    lines = formats.render(HEADER, [["a", "1"], ["long", "10.25"]]).splitlines()
    assert lines == ["name  value", "----  -----", "a         1", "long  10.25"]


def test_markdown_has_as_many_columns_in_every_line() -> None:
    lines = formats.render(HEADER, ROWS, "md").splitlines()
    assert lines[1] == "|:---|---:|"
    assert {line.replace(r"\|", "").count("|") for line in lines} == {3}
    assert "<b>" not in lines[3]


def test_latex_escapes_what_it_would_read_as_commands() -> None:
    text = formats.render(HEADER, ROWS, "latex", groups=[("over", 1)])
    assert r"\textless{}b\textgreater{}\&\textbackslash{}\_\%\$\#\{\}" in text
    assert r"{[}x{]}" in text  # or it would be an option of the line break before it
    assert r" & \multicolumn{1}{c}{over} \\" in text
    assert r"\cmidrule(lr){2-2}" in text
    assert text.count(r"\\") == 2 + len(ROWS)


@pytest.mark.parametrize("style", formats.FORMATS)
def test_an_empty_table_has_its_header(style: str) -> None:
    assert "value" in formats.render(HEADER, [], style)


def test_numbers_for_people() -> None:
    nan = math.nan
    assert formats.percent(0.88034, 0.0025) == "88.03 ± 0.25"
    assert formats.percent(0.88034) == "88.03"
    assert formats.percent(nan, 0.1) == formats.signed(nan) == ""
    assert formats.p_text(nan) == formats.digits(nan) == ""
    assert formats.signed(-0.0123) == "−1.23"
    assert formats.signed(0.0123) == "+1.23"
    assert [formats.p_text(p) for p in (0.0004, 0.001, 0.25)] == ["<0.001", "0.001", "0.250"]
    assert [formats.digits(v) for v in (0.00002, 0.0, 0.012345, 12.345, 123456.7)] == [
        "< 0.0001", "0", "0.0123", "12.3", "123457",
    ]  # fmt: skip


HOSTILE = [
    "<script>alert(1)</script>", "\x1b]0;title\x07\x1b[31mred", "a\nb\\input{/etc/passwd}", "\u202etxt",
    "[x](javascript:alert(1))", "![](http://example.org/x.png)", "`code` *bold*", "*{1cm}", "a|b", "%", "$x$",
]  # fmt: skip


@pytest.mark.parametrize("style", formats.FORMATS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_in_every_format(style: str, name: str) -> None:
    text = formats.with_lines(
        formats.render([name, "n"], [[name, "1"]], style, groups=[(name, 1)]), [name], style
    )
    assert all(line.isprintable() for line in text.splitlines())
    tame = formats.with_lines(formats.render(["a", "n"], [["a", "1"]], style), ["a"], style)
    more = len(text.splitlines()) - len(tame.splitlines())
    assert more == {"html": 1, "latex": 2}.get(style, 0), "the groups' lines, and none of the name's own"
    if style in ("html", "md"):
        assert "<script" not in text
    if style == "md":
        assert not re.search(r"(?<!\\)[\[`*]", text.replace("&", ""))
    if style == "latex":
        read = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
        assert not re.search(r"\\input|(?<!\\)\$[a-z]|^\*", read, re.MULTILINE)


def test_what_a_spreadsheet_would_compute_stands_as_text() -> None:
    cells = ["=1+1", "@SUM(A1)", "-1+cmd", "+1+1", "＝1", "-0.5", "+1e-5", "msp", ""]
    rows = list(csv.reader(io.StringIO(formats.render(["=h"], [[c] for c in cells], "csv"))))
    assert [r[0] for r in rows] == [
        "'=h", "'=1+1", "'@SUM(A1)", "'-1+cmd", "'+1+1", "'＝1", "-0.5", "+1e-5", "msp", "",
    ]  # fmt: skip


def test_lines_below_a_table_are_of_its_format() -> None:
    lines = ["one < two", "three"]
    below = {style: formats.with_lines("T", lines, style) for style in formats.FORMATS}
    assert below == {
        "table": "T\n\none < two\nthree", "csv": "T", "md": "T\n\n- one &lt; two\n- three",
        "latex": "% one < two\n% three\nT", "html": "T\n<ul>\n<li>one &lt; two</li>\n<li>three</li>\n</ul>",
    }  # fmt: skip
