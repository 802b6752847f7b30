"""Which pictures a results folder gets, and in which files."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oodbench.evaluation import costs, statistics
from oodbench.evaluation.leaderboard import over_trials, trials
from oodbench.report import plots
from tests.evaluation.frames import make_rows, make_samples
from tests.report.plots.figures import sweep, texts


def test_a_sweep_is_compared_with_the_suites_first_method_not_with_the_best_one() -> None:
    rows = pd.concat([sweep(), make_rows(methods=("focal",))])
    rows.loc[rows["method"] == "focal", "auroc"] = 1.0
    board = over_trials(rows)
    assert board["method"].iloc[0] == "focal"
    figure = plots.draw(board, trials(rows), None, scorers=["msp"])["sweep-als-lam"]
    assert "dotted: ce" in texts(figure)


def test_draw_all_finds_what_there_is_to_show(tmp_path: Path) -> None:
    rows = pd.concat([sweep(), make_rows(pair="q")])
    stages = [
        (m, s, stage, n)
        for m in rows["method"].unique()
        for s in ("msp", "knn")
        for stage, n in (("fit", 1), ("score", 9))
    ]
    timing = pd.DataFrame(
        [["k", "mlp", *at, 0.4, 10.0] for at in stages],
        columns=["run_key", "network", "method", "scorer", "stage", "n", "seconds", "bytes"],
    )
    spent = costs.of_rows(rows, timing, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = {f.stem for f in plots.draw_all(rows, pd.DataFrame(), tmp_path, spent)}
    kinds = ("heatmap", "trade-off", "cost", "sweep-als-lam", "ranks-methods", "ranks-scorers")
    assert written >= {*(f"{kind}-p-mlp" for kind in kinds), "heatmap-q-mlp", "ranks-by-pair"}


@pytest.mark.parametrize("case", ["one trial", "one cell", "all equal", "a NaN cell"])
def test_degenerate_boards_draw_or_have_nothing_to_show(case: str) -> None:
    small = {"one trial": {"splits": 1, "seeds": 1}, "one cell": {"methods": ("a",), "scorers": ("msp",)}}
    rows = make_rows(**small.get(case, {}))
    if case == "all equal":
        rows["auroc"] = rows["auroc"].where(rows["auroc"].isna(), 0.5)
    if case == "a NaN cell":
        rows.loc[(rows["scorer"] == "knn") & (rows["method"] == "als"), "auroc"] = np.nan
    board, each = over_trials(rows), trials(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = plots.draw(board, each, None, scorers=["msp"])
        assert "trade-off" in found
        blocks = statistics.blocks(each, "near_auroc", of="scorer", within=[])
        for figure in [*found.values(), plots.rank_heat_map(board), plots.cd_diagram(blocks)]:
            figure.canvas.draw()


def test_draw_all_writes_each_kind_as_png_and_svg_the_same_each_time(
    rows: pd.DataFrame, samples: pd.DataFrame, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = plots.draw_all(rows, samples, tmp_path / "a")
    long = samples.explode("value").astype({"value": float})  # one row per sample is welcome too
    assert [f.name for f in plots.draw_all(rows, long, tmp_path / "b")] == [f.name for f in written]
    kinds = ("heatmap", "scores", "roc", "known-unknown", "trade-off", "ranks-methods", "ranks-scorers")
    assert [f.name for f in written] == [
        f"{kind}-p-mlp.{suffix}" for kind in kinds for suffix in ("png", "svg")
    ]
    for file in written:
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
        assert file.stat().st_size < 600_000


def test_a_hostile_name_stays_inside_the_folder(
    rows: pd.DataFrame, samples: pd.DataFrame, tmp_path: Path
) -> None:
    evil = "../../<script>$x_1^$"
    written = plots.draw_all(
        rows.assign(pair=evil, method=evil), samples.assign(pair=evil, method=evil), tmp_path
    )
    assert all(f.parent == tmp_path for f in written)
    assert not any("<script>" in f.read_text() for f in written if f.suffix == ".svg")


def test_long_names_leave_room_for_the_panels(tmp_path: Path) -> None:
    long = "outlier-exposure(lam=0.5, weight=10, temperature=4)"
    for methods in ((long,), (long, "als(lam=10, k=argmax, only_correct=true)", "ce")):
        rows = make_rows(
            methods=methods,
            scorers=("msp", "perturbed(eps=0.0014, temperature=1000)"),
            pair="osr-cifar10(trial=3)",
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # "constrained_layout not applied because axes sizes collapsed to zero"
            assert plots.draw_all(rows, make_samples(rows), tmp_path)


def test_rows_without_samples_still_give_a_heat_map_and_failed_rows_nothing(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    nothing = pd.DataFrame(columns=["pair", "network", "method", "scorer", "value"])
    assert [f.stem for f in plots.draw_all(rows, nothing, tmp_path)][:2] == ["heatmap-p-mlp"] * 2
    assert plots.draw_all(rows.assign(status="failed"), nothing, tmp_path) == []


def test_formats_say_which_files_are_written(
    rows: pd.DataFrame, samples: pd.DataFrame, tmp_path: Path
) -> None:
    both = plots.draw_all(rows, samples, tmp_path / "both")
    alone = plots.draw_all(rows, samples, tmp_path / "alone", formats=("png",))
    assert [f.name for f in alone] == [f.name for f in both if f.suffix == ".png"]
    assert sorted(f.name for f in (tmp_path / "alone").iterdir()) == sorted(f.name for f in alone)
    for file in alone:
        assert file.read_bytes() == (tmp_path / "both" / file.name).read_bytes()


def test_plots_know_their_style_and_not_one_another() -> None:
    for file in Path(plots.__file__).parent.glob("*.py"):
        if file.stem not in ("__init__", "drawing"):
            known = {
                node.module
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("oodbench.report.plots")
            }
            assert known <= {"oodbench.report.plots.style"}, file


def test_a_picture_is_known_by_its_name(rows: pd.DataFrame, samples: pd.DataFrame, tmp_path: Path) -> None:
    both = pd.concat([rows, rows.assign(pair="q/r", network="")])
    places = both[["pair", "network"]].drop_duplicates()
    written = plots.draw_all(both, samples, tmp_path, formats=("png",))
    assert {plots.kind_of(f, places) for f in written} == {
        "heatmap", "scores", "roc", "known-unknown", "trade-off", "ranks-methods", "ranks-scorers",
        "ranks-by-pair",
    }  # fmt: skip
    assert {plots.kind_of(f, places) for f in written if "-q-r." in f.name} >= {"heatmap", "trade-off"}
    assert plots.kind_of(tmp_path / "sweep-als-lam-p-mlp.svg", places) == "sweep-als-lam"
    for name in (
        "mine.png",
        "heatmap-of-mine.png",
        "heatmap.png",
        "heatmap-p-mlp.pdf",
        "photo-p-mlp.png",
        "-p-mlp.png",
    ):
        assert plots.kind_of(tmp_path / name, places) == ""


def test_pictures_are_drawn_one_after_another_by_the_names_of_their_files(
    rows: pd.DataFrame, samples: pd.DataFrame, tmp_path: Path
) -> None:
    names = [name for name, _ in plots.pictures(rows, samples)]
    assert names == [f.stem for f in plots.draw_all(rows, samples, tmp_path, formats=("png",))]
