"""Comparisons: of two groups of rows, two folders, a published table and a suite's reference figures, against
SciPy."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats as scipy_stats

from oodbench.core.errors import UserError
from oodbench.evaluation import comparison, statistics
from oodbench.evaluation.leaderboard import trials
from tests.cli.test_results import ok
from tests.evaluation.folders import PUBLISHED, digits, folder, tidy
from tests.evaluation.frames import make_rows

__all__ = ["digits"]


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
    groups = comparison.groups(at, None, ["method=a"], ["method=b"])
    matches = comparison.between(
        *groups, ["near_auroc", "id_accuracy"], by=comparison.matched_by(None, ["method=b"])
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


def test_the_public_leaderboard_reads(shared: Path, digits: Path) -> None:
    text = ok("compare", digits, shared / "published" / "openood-v1.5.csv", "--format", "md")
    assert "| 88.03 ± 0.25 |" in text


@pytest.mark.parametrize("name", ["results.csv", "results.csv.gz"])
def test_a_table_of_rows_is_ours_plain_or_compressed(tmp_path: Path, name: str) -> None:
    make_rows().to_csv(tmp_path / name, index=False)
    for path in (tmp_path, tmp_path / name):
        group = comparison.load(path)
        assert not group.published
        assert group.name == tmp_path.name


def test_two_folders_of_one_suite_are_compared_row_by_row(tmp_path: Path) -> None:
    """The same suite before and after a change of the code, and with other seeds: every row has its partner,
    equal rows too, and the two are told apart by their paths."""
    rows = make_rows()
    rows["seed"] = rows["seed"].astype(str)
    changed = rows.copy()
    changed.loc[changed["scorer"] == "knn", "auroc"] += 0.01
    before, after = folder(tmp_path / "before" / "s", rows), folder(tmp_path / "after" / "s", changed)
    a, b = comparison.groups(before, after, (), ())
    assert (a.name, b.name) == ("before/s", "after/s")
    matches = comparison.between(a, b, ["near_auroc"])
    assert len(matches) == len(a.board)
    found = {m.a["scorer"]: m.differences["near_auroc"].value for m in matches}
    assert found["knn"] == pytest.approx(-0.01)
    assert found["msp"] == 0
    other = folder(tmp_path / "other" / "s", rows.assign(seed=rows["seed"] + "7"))
    unpaired = comparison.between(*comparison.groups(before, other, (), ()), ["near_auroc"])
    assert len(unpaired) == len(a.board), "without a trial in common, Welch's interval"
    same = comparison.groups(before, before, (), ())
    assert comparison.between(*same, ["near_auroc"]) == [], "a row is not compared with itself"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("88.03", "high"), r"line 2: near_auroc is 'high', should be a number from 0 to 100 or empty"),
        (("88.03", '"88,03"'), "line 2: near_auroc is '88,03'"),
        (("0.25", "-0.25"), "near_auroc_std is '-0.25'"),
        (("50.0", "inf"), "line 3: near_auroc is 'inf'"), (("50.0", "101"), "line 3: near_auroc is '101'"),
        ((",note", ",near_auroc"), "the column 'near_auroc' stands twice"),
        ((",x", ""), "line 2 has 7 cells, the header has 8"), (("MSP", "M\0SP"), "holds a NUL byte"),
        ((",note", ",method"), "two columns mean 'method'"),
    ],
)  # fmt: skip
def test_a_published_table_that_is_damaged_is_one_line(
    digits: Path, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    file = tmp_path / "published.csv"
    file.write_text(PUBLISHED.replace(*change, 1))
    with pytest.raises(UserError, match=said) as caught:
        comparison.load(file)
    assert str(file) in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_published_table_of_another_system_is_read(tmp_path: Path) -> None:
    file = tmp_path / "published.csv"
    file.write_bytes(("\ufeff" + PUBLISHED.replace("88.03", "–").replace("\n", "\r\n")).encode())
    board = comparison.load(file).board
    assert board["near_auroc"].isna().tolist() == [True, False, False]
    assert board["far_auroc"].tolist() == pytest.approx([0.9073, 0.6, 0.7776])


def test_only_what_is_in_percent_is_scaled(tmp_path: Path) -> None:
    file = tmp_path / "published.csv"
    file.write_text("method,scorer,near_auroc,nll,nll_std\nce,msp,90,1.5,0.1\n")
    (row,) = comparison.load(file).board.to_dict("records")
    assert (row["near_auroc"], row["nll"], row["nll_std"]) == (0.9, 1.5, 0.1)
