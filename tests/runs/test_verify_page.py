"""The page of a real run: every number, heading and script in it is that of the run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from oodbench.evaluation.leaderboard import over_trials
from oodbench.evaluation.rows import read_rows
from oodbench.runs import pages
from oodbench.runs.findings import CONTRADICTED, HOLDS, UNCHECKED, Finding
from oodbench.runs.folder import ResultsFolder
from oodbench.runs.verify_page import Made, check_page


@pytest.fixture
def made(attacked_run: Path) -> str:
    return pages.report([attacked_run])[0]


def checked(folder: Path, made: str | None, *, same: bool = True, why: str = "") -> list[Finding]:
    board = over_trials(read_rows(folder / "results.csv"))
    again = None if made is None else Made(made)
    return check_page(ResultsFolder(folder), board, again, why, same=same)


def wrong(folder: Path, made: str, text: str, *, same: bool = True) -> str:
    (folder / "report.html").write_text(text)
    (found,) = checked(folder, made, same=same)
    assert found.state == CONTRADICTED, found
    return found.why


def test_the_page_of_a_run_holds_to_the_last_letter(attacked: Path, made: str) -> None:
    (found,) = checked(attacked, made)
    assert found.state == HOLDS
    assert "all else" in found.why
    (attacked / "report.html").unlink()
    assert [f.state for f in checked(attacked, made)] == [UNCHECKED]


def _scripted(page: str) -> str:
    """A page with another script, and a policy that allows it."""
    start, end = page.rindex("<script>") + 8, page.rindex("</script>")
    script = page[start:end] + "alert(1)"
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return re.sub(r"sha256-[^']+", f"sha256-{sha256}", page[:start] + script + page[end:])


FORGED: dict[str, tuple[Callable[[str], str], str]] = {
    "heading": (lambda p: p.replace("<h1>attacked", "<h1>better"), "its <h1> is 'better'"),
    "title": (lambda p: p.replace("<title>attacked", "<title>better"), "its <title> is"),
    "script": (lambda p: p.replace("</body>", "<script>alert(1)</script></body>"), "it holds 3 scripts"),
    "script before the data": (
        lambda p: p.replace("<body>", "<body><script>1</script>"),
        "it holds 3 scripts",
    ),
    "script changed": (lambda p: p[: p.rindex("</script>")] + "alert(1)</script>", "not that of its script"),
    "policy": (lambda p: p.replace("default-src 'none'", "default-src *"), "its policy is not"),
    "policy gone": (lambda p: re.sub("<meta http-equiv[^>]*>", "", p), "its policy is not"),
    "handler": (lambda p: p.replace("<h1>", "<h1 onclick=alert(1)>"), "onclick=alert(1)"),
    "frame": (lambda p: p.replace("<main>", "<main><iframe src=x></iframe>"), "<iframe src=x>"),
    "image": (lambda p: p.replace("<main>", "<main><img src=http://example.org/x>"), "<img"),
    "link": (lambda p: p.replace("<main>", '<main><a href="http://example.org">x</a>'), "href=http"),
    "refresh": (
        lambda p: p.replace("<head>", '<head><meta http-equiv="refresh" content="0;url=x">'),
        "policy",
    ),
    "suite": (lambda p: p.replace("epochs: 2", "epochs: 9"), "not that of suite.yaml"),
    "environment": (lambda p: re.sub("torch: [0-9.]+", "torch: 9.9.9", p), "it says torch '9.9.9"),
    "data cut": (lambda p: p.replace('"cells":[', '"cells":', 1), "its data cannot be read"),
}
"""What no version of the page has, whoever made it."""


@pytest.mark.parametrize("case", FORGED)
@pytest.mark.parametrize("same", [True, False])
def test_what_acts_or_names_wrongly_is_found_whatever_version_made_it(
    attacked: Path, made: str, case: str, same: bool
) -> None:
    change, said = FORGED[case]
    text = change(made)
    assert text != made
    assert said in wrong(attacked, made, text, same=same)


OTHER: dict[str, tuple[Callable[[str], str], str]] = {
    "subtitle": (lambda p: p.replace('<h2 id="h-board">Leaderboard', '<h2 id="h-board">Ranking'), "Ranking"),
    "note": (lambda p: p.replace("Values are means", "Values are guesses"), "guesses"),
    "claim": (lambda p: p.replace("undecided", "supported"), "supported"),
    "style": (lambda p: p.replace("<style>", "<style>h1{display:none}"), "display:none"),
    "footer": (lambda p: p.replace("<footer><p>oodbench", "<footer><p>somebody"), "somebody"),
    "key": (lambda p: re.sub("(split=0 )", "split=7 ", p), "split=7"),
    "script and policy": (_scripted, "sha256-"),
    "fact": (lambda p: re.sub('"facts":\\[\\[?', lambda m: m[0] + '"x",', p), "data.facts"),
    "histogram": (lambda p: re.sub('"edges":\\[[^,]+', '"edges":[0.1234', p, count=1), "data."),
    "comparison": (lambda p: re.sub('"vs":\\["[^"]+"', '"vs":["nobody"', p, count=1), "nobody"),
}
"""What this version would not write, and another might."""


@pytest.mark.parametrize("case", OTHER)
def test_every_other_letter_is_compared_with_the_page_made_again(
    attacked: Path, made: str, case: str
) -> None:
    change, said = OTHER[case]
    text = change(made)
    assert text != made
    assert said in wrong(attacked, made, text)
    states = {f.state: f.why for f in checked(attacked, made, same=False)}
    assert states.keys() == {HOLDS, UNCHECKED}
    assert "another version made" in states[UNCHECKED]


def test_a_number_of_the_leaderboard_is_compared_with_the_rows(attacked: Path, made: str) -> None:
    at = re.search(r'"cells":\[{"k":[^v]*"v":\[\[(0\.\d+)', made)
    assert at is not None
    text = made[: at.start(1)] + "0.99999" + made[at.end(1) :]
    why = wrong(attacked, made, text, same=False)
    assert why.startswith("near_auroc of digits / mlp(hidden=[16]) / cross-entropy / ")
    assert "is 0.99999, results.csv gives" in why
    rows = read_rows(attacked / "results.csv")
    (attacked / "report.html").write_text(made)
    board = over_trials(rows).iloc[:1]
    (found,) = check_page(ResultsFolder(attacked), board, Made(made), "", same=True)
    assert found.why.startswith("it draws 18 cells, results.csv gives 1")


def test_what_needs_the_store_is_left_out_where_it_is_not_here(attacked: Path, made: str) -> None:
    plain = made.replace("\n", "\n")
    data = re.search(r'id="data">(.*?)</script>', made, re.DOTALL)
    assert data is not None
    bare = json.loads(data[1])
    bare |= {"trial": "", "als": [], "hard": []}
    for cell in bare["cells"]:
        for key in ("h", "c", "b"):
            cell.pop(key, None)
    text = json.dumps(bare, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")
    without = made[: data.start(1)] + text.replace("&", "\\u0026") + made[data.end(1) :]
    held, left = checked(attacked, without, why="the store is not here")
    assert (held.state, left.state) == (HOLDS, UNCHECKED)
    assert left.why == "its views of single samples: the store is not here"
    (attacked / "report.html").write_text(without)
    (found,) = checked(attacked, plain)
    assert found.state == HOLDS, "a page that shows none has none to check"


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "scripts"), (b"\xff\xfe", "no text in UTF-8"), (b"a\0b", "NUL"), (b"<html>", "scripts")],
)
def test_a_file_that_is_no_page_is_one_line(attacked: Path, made: str, data: bytes, said: str) -> None:
    (attacked / "report.html").write_bytes(data)
    (found,) = checked(attacked, made)
    assert found.state == CONTRADICTED
    assert said in found.why
