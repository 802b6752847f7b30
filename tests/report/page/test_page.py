"""The page: what is in the file, and how it behaves in a real headless Chromium (skipped where there is
none)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from oodbench.evaluation.leaderboard import over_trials
from oodbench.report.page import page as report
from oodbench.runs.runner import run
from tests.evaluation.frames import make_rows, make_samples
from tests.evaluation.stated import SUITE
from tests.report.page.pages import EVIL, data_of, make_page


def test_page_holds_the_boards_numbers_and_no_foreign_markup(text: str, rows: pd.DataFrame) -> None:
    assert "<script>document" not in text
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", text)
    data = data_of(text)
    board = over_trials(rows)
    assert [c["v"]["near_auroc"][0] for c in data["cells"]] == pytest.approx(
        list(board["near_auroc"]), abs=1e-5
    )
    assert [c["k"]["method"] for c in data["cells"]] == list(board["method"])
    msp = next(c for c in data["cells"] if (c["k"]["method"], c["k"]["scorer"]) == ("ce", "msp"))
    assert msp["cost"] == [0.5, 0.2]
    failed = next(c for c in data["cells"] if (c["k"]["method"], c["k"]["scorer"]) == ("ce", "knn"))
    assert (failed["f"], failed["why"]) == (6, EVIL)
    assert "far_auroc" not in failed["v"]
    for cell in data["cells"]:
        assert sum(cell["h"]["id"]) == pytest.approx(1, abs=0.05)
        for _, _, tprs, area in cell["c"]:
            assert tprs == sorted(tprs)
            assert 0 <= area <= 1
    assert {h["ood"] for h in data["hard"]} == {"", "unknown", "cousins", "noise"}


def test_published_figures_stand_beside_the_results() -> None:
    rows = make_rows(methods=("ce",), scorers=("msp",))
    figure = {"method": "ce", "scorer": "msp", "near_auroc": 88.03, "source": "a paper"}
    page = make_page(rows, about=report.About(figures=[figure]))
    assert "Published figures beside these" in page
    assert "88.03" in page
    assert "A: ours; B: reference (a paper)" in page
    assert "Published figures" not in make_page(rows)


def test_page_is_the_same_each_time_and_small(rows: pd.DataFrame, text: str) -> None:
    assert make_page(rows) == make_page(rows)
    assert len(text) < 300_000
    many = make_rows(
        methods=tuple(f"m{i}" for i in range(250)), splits=1, seeds=1, scorers=("msp", "knn", "c", "d", "e")
    )
    assert len(many) > 5_000
    assert len(make_page(many, make_samples(many))) < 5_000_000


@pytest.mark.parametrize("case", ["one trial", "all failed", "no scorer", "no samples"])
def test_degenerate_results_make_a_page(case: str) -> None:
    rows = make_rows(splits=1, seeds=1) if case == "one trial" else make_rows()
    if case == "all failed":
        rows = rows.assign(status="failed", reason="no")
    if case == "no scorer":
        rows = rows[rows["scorer"] == ""]
    data = data_of(make_page(rows, make_samples(rows) if case == "one trial" else None))
    if case == "one trial":
        assert all(c["v"]["near_auroc"][1:] == [None] * 3 for c in data["cells"])
        assert data["ranks"] == []
    if case == "all failed":
        assert all(c["r"] is None for c in data["cells"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as p:
        running = p.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


class Tab:
    """A tab on the page, noting what it says on the console and whatever it asks the network for."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.page = browser.new_context(**context).new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on(
            "console", lambda m: self.said.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.url = file.as_uri()

    def open(self, fragment: str = "") -> Any:
        self.page.goto("about:blank")
        self.page.goto(self.url + fragment)
        return self.page

    def column(self, i: int) -> list[str]:
        return self.page.eval_on_selector_all(
            "#board tbody tr", f"rows => rows.map(r => r.cells[{i}].textContent)"
        )

    def quiet(self) -> bool:
        return not self.said and all(u.startswith((self.url, "data:", "about:")) for u in self.asked)


@pytest.fixture
def tab(browser: Any, text: str, tmp_path: Path) -> Iterator[Tab]:
    file = tmp_path / "report.html"
    file.write_text(text, encoding="utf-8")
    tab = Tab(browser, file)
    yield tab
    assert tab.quiet(), (tab.said, tab.asked)
    tab.page.context.close()


def test_browser_shows_hostile_names_as_text(tab: Tab) -> None:
    page = tab.open()
    assert page.title().endswith("oodbench")
    assert EVIL in page.inner_text("#board")
    assert EVIL in page.inner_text("#how")
    assert len(tab.column(0)) == 6


def test_browser_sorts_both_ways_with_what_is_missing_last(tab: Tab) -> None:
    page = tab.open()
    for order in ("descending", "ascending"):
        page.click('[data-sort="far_auroc"]')
        assert page.get_attribute('th:has([data-sort="far_auroc"])', "aria-sort") == order
        at = page.eval_on_selector_all(
            "#board th", "hs => hs.findIndex(h => h.querySelector('[data-sort=far_auroc]'))"
        )
        shown = [c.split()[0] for c in tab.column(at)]
        numbers = [float(v) for v in shown if v != "–"]
        assert numbers == sorted(numbers, reverse=order == "descending")
        assert shown[-1] == "–"
    assert "sort=far_auroc" in page.evaluate("location.hash")


def test_browser_filters_and_restores_the_view_from_its_hash(tab: Tab) -> None:
    page = tab.open()
    page.select_option("#f-method", "als")
    page.select_option("#f-metric", "fpr95_in")
    page.fill("#f-q", "knn")
    assert tab.column(1) == ["als"]
    fragment = page.evaluate("location.hash")
    again = tab.open(fragment)
    assert tab.column(1) == ["als"]
    assert again.input_value("#f-metric") == "fpr95_in"
    assert "near FPR95 (ID)" in again.inner_text("#board thead")
    again.click("#reset")
    assert len(tab.column(0)) == 6
    assert again.evaluate("location.hash") == ""
    tab.open("#metric=nonsense&cell=999&pair=%3Cimg%20src=x%3E")  # a hash from anyone
    assert len(tab.column(0)) == 0


def test_browser_shows_near_or_far_alone_and_wins_and_losses(tab: Tab) -> None:
    page = tab.open()
    page.select_option("#f-shift", "far")
    assert "far AUROC" in page.inner_text("#board thead")
    assert "near AUROC" not in page.inner_text("#board thead")
    page.select_option("#f-metric", "ks")  # one of the further metrics: a mean without an interval
    assert re.fullmatch(r"\d+\.\d\d|–", tab.column(3)[0])
    assert "shift=far" in page.evaluate("location.hash")
    page.locator("#cd summary").first.focus()
    page.keyboard.press("Enter")
    assert re.search(r"\d/\d/\d", page.inner_text("#cd .wtl"))


def test_browser_prints_without_its_controls(tab: Tab) -> None:
    page = tab.open()
    page.emulate_media(media="print")
    assert not page.is_visible("#controls")
    assert not page.is_visible("#theme")
    assert page.is_visible("#board")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0


def test_browser_prints_on_white_from_the_dark_theme(browser: Any, text: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(text, encoding="utf-8")
    tab = Tab(browser, file, color_scheme="dark")
    page = tab.open()
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) != "rgb(255, 255, 255)"
    page.emulate_media(media="print")
    assert page.evaluate(background) == "rgb(255, 255, 255)"


def test_browser_scales_bars_and_colours_over_the_bulk(browser: Any, tmp_path: Path) -> None:
    rows = make_rows(methods=tuple("abcdefghi"), scorers=("msp",), splits=1, seeds=1)
    near = rows["ood"].isin(("unknown", "cousins"))
    rows.loc[near, "auroc"] = [0.9 + 0.001 * i for i in range(near.sum())]
    rows.loc[near & (rows["method"] == "a"), "auroc"] = (
        0.2  # one broken cell must not press the others together
    )
    file = tmp_path / "report.html"
    file.write_text(make_page(rows), encoding="utf-8")
    tab = Tab(browser, file)
    page = tab.open()
    low, high = page.eval_on_selector_all(
        "#board th.scale >> nth=0 >> span", "s => s.map(x => +x.textContent)"
    )
    assert 90 <= low < high <= 92
    hollow = page.locator('#board tbody tr td.wide circle[fill="var(--panel)"]')
    assert hollow.count() == 1
    assert "hollow: 1 below the scale" in page.text_content("#tradeoffs")
    assert tab.quiet()


def test_browser_opens_a_cell_by_keyboard_and_closes_it(tab: Tab) -> None:
    page = tab.open()
    page.focus("#board tbody tr .link")
    page.keyboard.press("Enter")
    assert page.is_visible("dialog#cell")
    assert page.locator("dialog svg.chart").count() == 2
    assert "cell=0" in page.evaluate("location.hash")
    assert page.locator("dialog tbody tr").count() > 10
    page.keyboard.press("Escape")
    assert not page.is_visible("dialog#cell")
    tab.open("#cell=2")
    assert page.is_visible("dialog#cell")


def test_browser_heat_map_opens_cells_and_everything_is_drawn(tab: Tab) -> None:
    page = tab.open()
    page.click(".heat td button")
    assert page.is_visible("dialog#cell")
    page.keyboard.press("Escape")
    assert page.locator("#cd svg").count() == 4
    assert page.locator("#als svg").count() == 6
    assert page.locator("#tradeoffs svg").count() >= 1
    assert page.eval_on_selector_all(
        "#hardest img", "ims => ims.length && ims.every(i => i.complete && i.naturalWidth > 0)"
    )


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_browser_themes_and_narrow_screens(
    browser: Any, text: str, tmp_path: Path, scheme: str, width: int
) -> None:
    file = tmp_path / "report.html"
    file.write_text(text, encoding="utf-8")
    tab = Tab(browser, file, color_scheme=scheme, viewport={"width": width, "height": 800})
    page = tab.open()
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
    page.fill(
        "#f-q", "als"
    )  # without the hostile name, which is one long word, near and far fit side by side
    assert page.evaluate("(b => b.scrollWidth <= b.clientWidth)(document.getElementById('board'))")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") != scheme
    assert tab.quiet()


def test_the_page_shows_verdicts_and_escapes_what_a_suite_says(tmp_path: Path) -> None:
    file = tmp_path / "stated.yaml"
    file.write_text(SUITE.replace("It is lower.", "It is <b>lower</b>."))
    done = run(file, results=tmp_path, device="cpu")
    page = (done.folder / "report.html").read_text()
    assert '<section id="claims"' in page
    assert "It is &lt;b&gt;lower&lt;/b&gt;." in page
    assert page.count('<details class="claim">') == 2
    file.write_text(SUITE.split("claims:")[0])
    assert (
        '<section id="claims"'
        not in (run(file, results=tmp_path, device="cpu").folder / "report.html").read_text()
    )
