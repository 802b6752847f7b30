"""How every picture looks, and how names are made to fit."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.figure import Figure

from oodbench.report import plots


def test_ink_stands_out_as_wcag_wants() -> None:
    assert (plots.ink((0, 0, 0)), plots.ink((1, 1, 1)), plots.ink((0.5, 0.5, 0.5)),
    plots.ink((0, 0.13, 0.3))) == (
        "white", "black", "black", "white",
    )  # fmt: skip


def test_nothing_is_left_behind_in_matplotlib(samples: pd.DataFrame) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.known_unknown(samples)
    assert dict(matplotlib.rcParams) == before


def test_each_method_is_shown_before_its_variants() -> None:
    names = ["ce", "ls(epsilon=0.05)", "ls", "als(lam=100)", "als(lam=10)", "maxsup", "ce"]
    assert plots.one_of_each(names, 4) == ["ce", "ls", "als(lam=100)", "maxsup"]
    assert plots.one_of_each(names, 5) == ["ce", "ls(epsilon=0.05)", "ls", "als(lam=100)", "maxsup"]
    assert plots.one_of_each(names, 9) == names[:-1]


def test_long_names_are_broken_or_shortened_in_their_middle() -> None:
    long = "outlier-exposure(lam=0.5, weight=10, temperature=4)"
    assert plots.wrapped("als(lam=10)") == "als(lam=10)"
    assert plots.wrapped(long).split("\n") == ["outlier-exposure", "(lam=0.5, weight=10,", "temperature=4)"]
    assert plots.short("als(lam=0.1, k=argmax)", 15) == "als(lam…argmax)"
    assert len(plots.short(long, 20)) == 20


def _figure(title: str = "") -> Figure:
    figure, axes = plots.grid(1, 1, width=2, height=2)
    axes[0, 0].set_title(title)
    return figure


def test_a_picture_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = plots.save(_figure(), tmp_path / "a", ["png"])
    before = whole.read_bytes()

    def half(self: Figure, target: Path, **more: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
    for name in ("a", "b"):
        with pytest.raises(OSError, match="No space left"):
            plots.save(_figure(), tmp_path / name, ["png"])
    assert [f.name for f in tmp_path.iterdir()] == ["a.png"]
    assert whole.read_bytes() == before


@pytest.mark.filterwarnings("ignore:Glyph")
def test_no_name_ends_a_picture_as_xml(tmp_path: Path) -> None:
    title = "a\x1b[31m\x00\x0b\u202e <script>&\nsecond"
    figure = _figure(title)
    figure.axes[0].set_xticks([0.5], [title])
    figure.axes[0].plot([0, 1], [0, 1], label=title)
    figure.axes[0].legend()
    (file,) = plots.save(figure, tmp_path / "a", ["svg"])
    text = "".join(ElementTree.parse(file).getroot().itertext())
    assert text.count("<script>&") == 3
    assert "second" in text
    assert not set(text) & set("\x1b\x0b\u202e")
