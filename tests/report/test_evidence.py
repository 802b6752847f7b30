"""What is said of one match: tests over trials, then what the samples say."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.cli.test_results import copied, made, ok
from tests.evaluation.folders import folder
from tests.evaluation.frames import make_rows

__all__ = ["copied", "made"]


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


def test_without_the_store_statistics_over_trials_are_left_and_it_says_so(copied: Path) -> None:
    shutil.rmtree(copied.parent / ".store")
    text = ok("compare", copied, "--where", "scorer=knn*", "--where-b", "scorer=msp", "--tests")
    assert "On samples: cannot be said here: the store of " in text
    assert "paired over 2 splits" in text
