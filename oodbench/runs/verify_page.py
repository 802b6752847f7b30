"""Verification of report.html: it is the page that the files beside it and the store give, and nothing in it
acts but the page's own script."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.core.errors import UserError, shown
from oodbench.core.text_files import read_text, there
from oodbench.evaluation.leaderboard import values_of
from oodbench.report.page import cells
from oodbench.runs.findings import UNCHECKED, Finding, damaged, number, text, told
from oodbench.runs.folder import ENVIRONMENT, PAGE, SUITE, ResultsFolder

if TYPE_CHECKING:
    import pandas as pd

_TAGS = {
    "html", "head", "meta", "title", "style", "body", "a", "header", "div", "p", "nav", "button", "h1", "h2",
    "main", "noscript", "section", "details", "summary", "span", "table", "thead", "tbody", "tr", "th", "td",
    "pre", "dialog", "footer", "script",
}  # fmt: skip
_META = {"charset", "name", "content", "http-equiv"}


class Made(NamedTuple):
    """A page made again, and whether what things cost was at hand."""

    page: str
    costs: bool = True


def check_page(
    here: ResultsFolder, board: pd.DataFrame, made: Made | None, why: str, *, same: bool
) -> list[Finding]:
    """Everything that can be said of report.html.

    Args:
        here: the results folder.
        board: what its rows give.
        made: the page made again; None where it cannot be.
        why: why it cannot be, or what it lacks.
        same: whether this version of everything wrote it, so that every letter is to be the same.
    """
    file = here.path / PAGE
    if not there(file):
        return [Finding(UNCHECKED, PAGE, "there is none")]
    try:
        page = read_text(file)
        seen = _Seen(page)
    except UserError as error:
        return [damaged(file, error)]
    wrong = [*seen.acting(), *_of_files(seen, here, board), *_drawn(page, board)]
    if wrong:
        return [told(PAGE, wrong, "")]
    fine = f"draws the {len(board)} cells of the leaderboard"
    if made is None:
        return [told(PAGE, [], fine), Finding(UNCHECKED, PAGE, f"the rest of it: {why}")]
    differ, left_out = differences(made, page)
    if differ and not same:
        said = f"the rest of it, which another version made: {differ[0]}"
        return [told(PAGE, [], fine), Finding(UNCHECKED, PAGE, said)]
    found = [told(PAGE, differ, f"{fine}; all else is what the folder's files give")]
    if left_out and not differ:
        found.append(Finding(UNCHECKED, PAGE, left_out + (f": {why}" if why else "")))
    return found


class _Seen(HTMLParser):
    """What a browser would meet in a page: its tags, its scripts, its headings, its blocks of text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.policies: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.texts: dict[str, list[str]] = {"title": [], "h1": [], "summary": [], "pre": []}
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._open = tag
        if tag not in _TAGS or (tag == "meta" and not given.keys() <= _META):
            self.wrong.append(f"it holds {shown(self.get_starttag_text())}, which no page of ours has")
        for name, value in attrs:
            if name.startswith("on") or (name in ("src", "href", "style") and not str(value).startswith("#")):
                self.wrong.append(
                    f"it holds {shown(f'{name}={value}')} in <{tag}>, which no page of ours has"
                )
        if tag == "script":
            self.scripts.append((given, ""))
        elif given.get("http-equiv"):
            self.policies.append(str(given.get("content")))
        elif tag in self.texts:
            self.texts[tag].append("")

    def handle_data(self, data: str) -> None:
        if self._open == "script" and self.scripts:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.texts.get(self._open):
            self.texts[self._open][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def acting(self) -> Iterator[str]:
        """What could act, besides the one script whose hash the page's policy names."""
        yield from self.wrong
        if [given for given, _ in self.scripts] != [{"type": "application/json", "id": "data"}, {}]:
            yield f"it holds {len(self.scripts)} scripts; a page of ours has its data and one script"
            return
        sha256 = base64.b64encode(hashlib.sha256(self.scripts[1][1].encode()).digest()).decode()
        policy = (
            f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{sha256}'; img-src data:;"
            " base-uri 'none'; form-action 'none'"
        )
        if self.policies != [policy]:
            yield "its policy is not that of a page of ours, or not that of its script"


def _of_files(seen: _Seen, here: ResultsFolder, board: pd.DataFrame) -> Iterator[str]:
    """What the page says of itself otherwise than the files beside it."""
    name = ", ".join(dict.fromkeys(map(str, board["suite"]))) or "results"
    for tag, wanted in (("title", f"{name} · oodbench"), ("h1", name)):
        if seen.texts[tag] != [wanted]:
            yield f"its <{tag}> is {shown(' '.join(seen.texts[tag]))}, should be {shown(wanted)}"
    blocks = dict(zip(seen.texts["summary"][-len(seen.texts["pre"]) :], seen.texts["pre"], strict=False))
    with contextlib.suppress(UserError):  # of a damaged file another finding tells
        suite = read_text(here.path / SUITE) if there(here.path / SUITE) else ""
        if suite and "Suite" in blocks and blocks["Suite"].strip() != suite.strip():
            yield f"the suite that it shows is not that of {SUITE}"
    with contextlib.suppress(UserError):
        environment = here.environment()
        told = dict(line.partition(": ")[::2] for line in blocks.get("Environment", "").splitlines())
        told["command"] = blocks.get("Command", "")
        for key, value in environment.items():
            if key in told and told[key].strip() != str(value).strip():
                yield f"it says {key} {shown(told[key])}, {ENVIRONMENT} {shown(str(value))}"


def _drawn(page: str, board: pd.DataFrame) -> Iterator[str]:
    """Numbers of its cells that the leaderboard does not have."""
    try:
        drawn = cells.cells_of(page)
        found = list(_cells(drawn, cells.drawn(board)))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        found = ["its data cannot be read"]
    yield from found


def _cells(drawn: Sequence[Mapping[str, Any]], board: pd.DataFrame) -> Iterator[str]:
    if len(drawn) != len(board):
        yield f"it draws {len(drawn)} cells, results.csv gives {len(board)}"
        return
    for cell, row in zip(drawn, board.to_dict("records"), strict=True):
        place = " / ".join(
            v for k, v in cell["k"].items() if v and k in ("pair", "network", "method", "scorer")
        )
        if any(str(row[k]) != v for k, v in cell["k"].items()):
            yield f"{place} stands where results.csv has another cell"
            continue
        for column in values_of(board):
            for given, suffix in zip(
                cell["v"].get(column, [None]), ("", "_std", "_low", "_high"), strict=False
            ):
                made = number(row[column + suffix])
                # a page may round to five digits, and ten were written to results.csv: a value on the edge
                # may round either way
                if not np.isclose(number(given), made, rtol=0, atol=1.5e-5, equal_nan=True):
                    what = f"{column}{suffix} of {place}"
                    yield f"{what} is {text(number(given))}, results.csv gives {text(made)}"


# ------------------------------------------------------------------------- against the page made again

_DATA = re.compile(r'(<script type="application/json" id="data">)(.*?)(?=</script>)', re.DOTALL)
_OF_SAMPLES = {"trial", "als", "hard"}
_OF_CELL = {"h", "c", "b"}
"""What shows single samples, for which the store is needed: of the page, and of an opened cell."""
_DETAILS = {"sets", "t", "vs", "cost", *_OF_CELL}
"""What an opened cell shows; of a large page the lowest ranks have none."""


def differences(made: Made, page: str) -> tuple[list[str], str]:
    """What a page says otherwise than when it is made again, and what of it could not be compared, since what
    it is made from is not at hand."""
    (ours, our_data), (theirs, their_data) = _parted(made.page), _parted(page)
    if ours != theirs:
        return [_first_difference(ours, theirs)], ""
    hidden, left_out = _hidden(our_data, their_data)
    if not made.costs:
        hidden |= {"cost", "costs"}
        left_out.append("its costs")
    if len(page) > cells.MOST_BYTES - 300_000:
        hidden |= _DETAILS
    return list(_differ(our_data, their_data, "data", hidden)), ", ".join(left_out)


def _hidden(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[set[str], list[str]]:
    """Views of single samples that only one of two pages has."""
    has, can = bool(theirs.get("trial")), bool(ours.get("trial"))
    if not (has and can):
        return {*_OF_SAMPLES, *_OF_CELL}, ["its views of single samples"] if has else []
    if theirs.get("hard") and not ours.get("hard"):
        return {"hard"}, ["its images"]
    return set(), []


def _parted(page: str) -> tuple[str, dict[str, Any]]:
    found = _DATA.search(page)
    data = json.loads(found[2]) if found else {}
    return _DATA.sub(r"\1", page), data if isinstance(data, dict) else {}


def _first_difference(ours: str, theirs: str) -> str:
    pairs = zip(ours, theirs, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
    line, start = theirs.count("\n", 0, at) + 1, max(0, at - 20)
    here, again = (shown(text[start : at + 40]) for text in (theirs, ours))
    return f"line {line} has {here}, made again it has {again}"


def _differ(ours: Any, theirs: Any, place: str, hidden: set[str]) -> Iterator[str]:
    """Places of two JSON values that differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs} - hidden):
            if key != "src" or not _same_image(ours.get(key), theirs.get(key)):
                yield from _differ(ours.get(key), theirs.get(key), f"{place}.{key}", hidden)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            yield from _differ(a, b, f"{place}[{i}]", hidden)
    elif type(ours) is not type(theirs) or ours != theirs:
        yield f"{place} is {shown(theirs)}, made again it is {shown(ours)}"


def _same_image(ours: Any, theirs: Any) -> bool:
    """Whether two images in a page show the same, however they were packed."""
    from PIL import Image

    try:
        data = [base64.b64decode(str(v).partition(",")[2]) for v in (ours, theirs)]
        one, other = (np.asarray(Image.open(io.BytesIO(d))) for d in data)
    except (OSError, ValueError, SyntaxError):
        return False
    return one.shape == other.shape and bool((one == other).all())
