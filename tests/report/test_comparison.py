"""A comparison as text: against a published table, between groups, and what it adds up to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from oodbench.core.errors import UserError
from oodbench.evaluation import comparison
from oodbench.evaluation.leaderboard import over_trials
from tests.cli.test_results import call, ok
from tests.evaluation.folders import PUBLISHED, digits, folder, tidy
from tests.evaluation.frames import make_rows

__all__ = ["digits"]


def test_a_published_table_is_matched_by_name_and_its_std_flagged(digits: Path, tmp_path: Path) -> None:
    table = tmp_path / "published.csv"
    table.write_text(PUBLISHED)
    found = tidy(ok("compare", digits, table, "--format", "csv"))
    assert {(r["pair_b"], r["scorer_b"]) for r in found} == {("cifar10", "MSP"), ("cifar10", "KNN")}
    board = over_trials(comparison.read([digits]))
    for r in found:
        ours = board[(board["method"] == "cross-entropy") & (board["scorer"] == r["scorer_a"])].iloc[0]
        b, std = {("near_auroc", "MSP"): (0.8803, 0.0025), ("near_auroc", "KNN"): (0.5, 0.2),
        ("far_auroc", "MSP"): (0.9073, np.nan),
                  ("far_auroc", "KNN"): (0.6, np.nan)}[r["value"], r["scorer_b"]]  # fmt: skip
        assert float(r["difference"]) == pytest.approx(ours[r["value"]] - b, abs=1e-5)
        if std != std:
            assert r["within_std"] == r["low"] == ""
            continue
        assert r["within_std"] == ("yes" if abs(ours[r["value"]] - b) <= std else "no")
        split_std, n = ours[f"{r['value']}_split_std"], ours["n_splits"]
        test = scipy_stats.ttest_ind_from_stats(ours[r["value"]], split_std, n, b, std, 3, equal_var=False)
        assert float(r["p"]) == pytest.approx(test.pvalue, rel=1e-4)
        assert float(r["low"]) < float(r["difference"]) < float(r["high"])
    text = ok("compare", digits, table)
    assert "of 2 within the published std" in text
    latex = ok("compare", digits, table, "--format", "latex")
    assert latex.startswith("% A: mine")
    assert latex.count(r"\\") == 4  # two lines of headings, two rows
    assert r"\multicolumn{4}{c}{near AUROC} & \multicolumn{4}{c}{far AUROC}" in latex
    assert r"\cmidrule(lr){2-5} \cmidrule(lr){6-9}" in latex
    assert "[" not in latex.split(r"\midrule")[1].replace(
        "{[}", ""
    )  # LaTeX would take it for an option of the line break
    assert (
        len(
            {
                line.count("|")
                for line in ok("compare", digits, table, "--format", "md").splitlines()
                if line.startswith("|")
            }
        )
        == 1
    )
    other = folder(tmp_path / "other", make_rows(methods=("cross-entropy",), pair="digits"))
    done = call("compare", other, table)
    assert "choose with --where-b 'benchmark=...': cifar10, cifar100" in str(done.exception)
    assert "88.03 ± 0.25" in ok("compare", other, table, "--where-b", "benchmark=cifar10")
    done = call("compare", folder(tmp_path / "als", make_rows(methods=("als",), pair="cifar10")), table)
    assert "no row of als matches one of published" in str(done.exception)


def test_the_accuracy_of_one_network_is_a_line_and_no_column(tmp_path: Path) -> None:
    rows = make_rows(methods=("cross-entropy",), pair="cifar10")
    rows["id_accuracy"] = rows.groupby(["split", "seed"])["id_accuracy"].transform("first")
    table = tmp_path / "published.csv"
    table.write_text(
        "method,scorer,near_auroc,id_accuracy,id_accuracy_std\nce,msp,88,95.06,0.3\nce,knn,90,95.06,0.3\n"
    )
    at = folder(tmp_path / "one", rows)
    for style in ("table", "md", "latex", "html"):
        text = ok("compare", at, table, "--values", "near_auroc,id_accuracy", "--format", style)
        assert text.count("95.06") == 1
        assert "not within the published std (one comparison for all rows)" in text
    assert len(tidy(ok("compare", at, table, "--format", "csv"))) == 4
    assert (
        "95.06 ± 0.30" in ok("compare", at, table, "--values", "id_accuracy").splitlines()[2]
    )  # alone it is a column


def test_mistakes_are_one_line_that_names_the_option(digits: Path, tmp_path: Path) -> None:
    said = str(call("compare", digits, "--where-b", "method=mds").exception)
    assert said == "--where-b 'method=mds': nothing has that method; there is cross-entropy, als"
    (tmp_path / "prose.csv").write_text("a\nb\nc, d, e\n")
    for command in (("compare", digits), ("leaderboard",)):
        error = call(*command, tmp_path / "prose.csv").exception
        assert isinstance(error, UserError)
        assert len(str(error).splitlines()) == 1


def test_pairs_are_the_sample_of_the_sign_test(tmp_path: Path) -> None:
    frames = []
    for i in range(6):
        rows = make_rows(methods=("good", "bad"), pair=f"p{i}")
        rows.loc[rows["method"] == "good", "auroc"] = 0.9 + rows["auroc"] / 100
        rows.loc[rows["method"] == "bad", "auroc"] = 0.1 + rows["auroc"] / 100
        frames.append(rows)
    at = folder(tmp_path / "six", pd.concat(frames))
    text = ok("compare", at, "--where", "method=good", "--where-b", "method=bad", "--values", "near_auroc")
    assert "A better on 6, worse on 0 of 6 pairs (sign test p = 0.031)" in text  # 2 / 2^6
