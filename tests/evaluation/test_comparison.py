"""Comparisons: of two groups of rows, two folders, a published table and a suite's reference figures, against
SciPy."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats as scipy_stats

from oodbench.core.errors import UserError
from oodbench.evaluation import comparison, evidence, statistics
from oodbench.evaluation.leaderboard import over_trials, trials
from oodbench.evaluation.rows import write_csv
from oodbench.report.comparison import lines
from oodbench.suite.parse import parse_suite
from tests.cli.test_results import SUITE, call, copied, made, ok
from tests.evaluation.frames import make_rows

__all__ = ["copied", "made"]


def folder(path: Path, rows: pd.DataFrame) -> Path:
    path.mkdir(parents=True)
    write_csv(rows, path / "results.csv")
    return path


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return folder(tmp_path / "mine", make_rows(methods=("cross-entropy", "als"), pair="openood-cifar10"))


PUBLISHED = """benchmark,training,postprocessor,arch,near_auroc,near_auroc_std,far_auroc,note
cifar10,CrossEntropy,MSP,ResNet18,88.03,0.25,90.73,x
cifar10,CrossEntropy,KNN,ResNet18,50.0,20.0,60,y
cifar100,CrossEntropy,MSP,ResNet18,80.27,0.11,77.76,z
"""


def tidy(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_names_match_without_case_punctuation_and_under_synonyms_but_never_other_parameters() -> None:
    plain = comparison.plain
    assert plain("Cross-Entropy") == plain("CrossEntropy") == plain("baseline")
    assert plain("MaxLogit") == plain("mls")
    assert plain("als(lam=10)") != plain("als(lam=1.0)")
    assert plain("als(lam=1e-1)") != plain("als(lam=1e1)")
    assert comparison.plain_key("pair", "openood-imagenet200") == comparison.plain_key(
        "pair", "imagenet200_ood"
    )
    assert comparison.plain_key("pair", "imagenet200_fsood") != comparison.plain_key(
        "pair", "imagenet200_ood"
    )


def test_two_groups_of_one_folder_are_paired_over_splits(digits: Path) -> None:
    found = tidy(
        ok("compare", digits, "--where", "method=als", "--where-b", "method=cross-entropy", "--format", "csv")
    )
    near = [r for r in found if r["value"] == "near_auroc"]
    assert [r["scorer_a"] == r["scorer_b"] for r in near] == [True, True]
    t = trials(comparison.read([digits]))
    p = []
    for r in near:
        mine, theirs = (t[(t["method"] == r[f"method_{s}"]) & (t["scorer"] == r["scorer_a"])] for s in "ab")
        a, b = (x.groupby("split")["near_auroc"].mean().sort_index().to_numpy() for x in (mine, theirs))
        test = scipy_stats.ttest_rel(a, b)
        interval = test.confidence_interval()
        assert float(r["difference"]) == pytest.approx((a - b).mean(), rel=1e-4)
        assert [float(r[c]) for c in ("low", "high", "p")] == pytest.approx(
            [interval.low, interval.high, test.pvalue], rel=1e-4
        )
        assert (r["n"], r["unit"], r["p_wilcoxon"]) == ("3", "split", "")
        assert float(r["wins"]) == (a > b).sum()
        p.append(float(r["p"]))
    assert [float(r["p_holm"]) for r in near] == pytest.approx(statistics.holm(p), rel=1e-4)


def test_what_belongs_to_the_network_is_one_comparison_however_many_scorers(tmp_path: Path) -> None:
    rows = make_rows(methods=("a", "b"), scorers=("msp", "knn", "vim"))
    place = ["method", "split", "seed"]
    rows["id_accuracy"] = rows.groupby(place)["id_accuracy"].transform("first")
    at = folder(tmp_path / "one", rows)
    sides = comparison.sides(at, None, ["method=a"], ["method=b"])
    matches = comparison.between(
        *sides, ["near_auroc", "id_accuracy"], by=comparison.matched_by(None, ["method=b"])
    )
    assert len(matches) == 3
    assert len(comparison.once(matches, "near_auroc")) == 3
    (group,) = comparison.once(matches, "id_accuracy")
    assert {m.differences["id_accuracy"].p_holm for m in group} == {group[0].differences["id_accuracy"].p}


def test_many_groups_meet_as_asked(digits: Path) -> None:
    with pytest.raises(UserError, match=r"--values: 'auroc' is no value"):
        comparison.known(["auroc"])
    rest = tidy(
        ok(
            "compare",
            digits,
            "--where-b",
            "scorer=msp",
            "--where-b",
            "method=als",
            "--values",
            "near_auroc",
            "--format",
            "csv",
        )
    )
    assert len(rest) == 3  # all rows of A but the one itself
    by_method = tidy(
        ok(
            "compare",
            digits,
            "--where-b",
            "scorer=msp",
            "--match",
            "method",
            "--values",
            "near_auroc",
            "--format",
            "csv",
        )
    )
    assert {(r["method_a"], r["scorer_a"]) for r in by_method} == {("als", "knn"), ("cross-entropy", "knn")}
    assert all(r["method_a"] == r["method_b"] for r in by_method)


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


def test_a_single_trial_has_a_difference_and_no_interval(tmp_path: Path) -> None:
    table = tmp_path / "published.csv"
    table.write_text(PUBLISHED)
    one = folder(tmp_path / "one", make_rows(methods=("ce",), splits=1, seeds=1, pair="cifar10"))
    (row,) = [
        r
        for r in tidy(ok("compare", one, table, "--format", "csv"))
        if r["value"] == "near_auroc" and r["scorer_b"] == "MSP"
    ]
    assert row["difference"] != ""
    assert row["low"] == row["p"] == ""


FIGURES = """reference:
- {method: cross-entropy, id_accuracy: 95.06, id_accuracy_std: 0.3, source: OpenOOD v1.5}
- {pair: openood-cifar10, method: cross-entropy, scorer: msp, near_auroc: 88.03, far_auroc: 90.73,
   source: OpenOOD v1.5}
"""


def test_reference_figures_of_the_suite_stand_beside_ours(digits: Path) -> None:
    assert "carries no reference figures" in str(call("compare", digits).exception)
    assert "reference" not in ok("leaderboard", digits)
    (digits / "suite.yaml").write_text(FIGURES)
    text = ok("compare", digits)
    assert len([line for line in text.splitlines() if line.startswith(("msp", "knn"))]) == 2
    assert text.count("95.06 ± 0.30") == 2  # the network's, whatever the scorer
    assert text.count("88.03") == text.count("90.73") == 1
    beside = ok("leaderboard", digits).split("\n\n")[1]
    assert "88.03" in beside
    assert beside.rstrip().endswith("A: ours; B: reference (OpenOOD v1.5)")
    assert "88.03" not in ok("leaderboard", digits, "--format", "csv")
    ok("report", digits, "-o", digits / "page.html")
    assert "Published figures beside these" in (digits / "page.html").read_text()


def test_a_suite_carries_figures_and_refuses_wrong_ones(copied: Path) -> None:
    suite = SUITE | {
        "reference": [
            {"pair": "digits", "method": "cross-entropy", "scorer": "msp", "near_auroc": 90, "source": "mine"}
        ]
    }
    parsed = parse_suite(suite)
    assert (
        parse_suite(yaml.safe_load(parsed.dump())).reference == parsed.reference == tuple(suite["reference"])
    )
    (copied / "suite.yaml").write_text(parsed.dump())
    assert ok("verify", copied)  # no key depends on it
    wrong = [
        {"method": "als", "id_accuracy": 95, "source": "x"},
        {"method": "cross-entropy", "near_auroc": 95, "source": "x"},
        {"scorer": "msp", "nearauroc": 95, "source": "x"},
        {"scorer": "msp", "near_auroc": "95", "source": "x"},
        {"scorer": "msp", "near_auroc": 95},
    ]  # fmt: skip
    with pytest.raises(UserError) as error:
        parse_suite(SUITE | {"reference": wrong})
    said = str(error.value)
    for line in (
        "reference[0].method: 'als' is no method of this suite; allowed: cross-entropy, label-smoothing",
        "[1]: near_auroc is a scorer's",
        "[2].nearauroc: unknown key", "[3].near_auroc: should be a number in percent",
        "[4].source: is missing",
    ):  # fmt: skip
        assert line in said


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


def test_samples_of_a_real_run_give_delong_and_bootstrap(made: Path) -> None:
    text = ok(
        "compare",
        made,
        "--where",
        "scorer=knn*",
        "--where-b",
        "scorer=msp",
        "--tests",
        "--values",
        "near_auroc",
    )
    assert text.count("  DeLong, unknown-digits, split ") == 4
    assert "On samples, near AUROC: " in text
    a, b = comparison.sides(
        made, None, ["scorer=knn*", "method=cross-entropy"], ["scorer=msp", "method=cross-entropy"]
    )
    from oodbench.runs import reopen

    whole = reopen.with_samples(a, made), reopen.with_samples(b, made)
    (match,) = comparison.between(*whole, ["near_auroc"], by=())
    found = evidence.on_samples(*whole, match, replicates=200)
    assert match.differences["near_auroc"].value == pytest.approx(found.intervals["near"].value, abs=1e-9)
    near = [t.test.difference for t in found.tests if t.shift == "near"]
    assert match.differences["near_auroc"].value == pytest.approx(float(np.mean(near)), abs=1e-9)
    assert all(t.p_holm >= t.test.p for t in found.tests)
    assert found.intervals["near"].low < found.intervals["near"].value < found.intervals["near"].high
    assert "A: digits / mlp(hidden=[16]) / cross-entropy / knn(k=5)" in lines(match, ["near_auroc"], found)


def test_without_the_store_statistics_over_trials_are_left_and_it_says_so(copied: Path) -> None:
    shutil.rmtree(copied.parent / ".store")
    text = ok("compare", copied, "--where", "scorer=knn*", "--where-b", "scorer=msp", "--tests")
    assert "On samples: cannot be said here: the store of " in text
    assert "paired over 2 splits" in text


def test_wilcoxon_only_from_six_units(tmp_path: Path) -> None:
    for splits, said in ((6, "Wilcoxon p = "), (5, "no Wilcoxon test below 6 splits")):
        at = folder(tmp_path / str(splits), make_rows(splits=splits))
        assert said in ok(
            "compare",
            at,
            "--where",
            "method=als",
            "--where-b",
            "method=ce",
            "--tests",
            "--values",
            "near_auroc",
        )


def test_the_public_leaderboard_reads(shared: Path, digits: Path) -> None:
    text = ok("compare", digits, shared / "published" / "openood-v1.5.csv", "--format", "md")
    assert "| 88.03 ± 0.25 |" in text
