"""Rows with hostile names, and the page of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from oodbench.core import registry
from oodbench.evaluation import costs
from oodbench.report.page import page as report
from tests.evaluation.frames import make_rows, make_samples
from tests.report.page.pages import EVIL, make_page, pictures


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    made = make_rows(methods=("ce", "als", EVIL))
    made["ks"] = made["auroc"] / 2
    made.loc[
        (made["scorer"] == "knn") & (made["method"] == "ce") & (made["ood"] == "noise"), ["status", "reason"]
    ] = ["failed", EVIL]
    return made


@pytest.fixture(scope="module")
def text(rows: pd.DataFrame) -> str:
    samples = make_samples(rows)
    samples["index"] = [np.arange(len(v)) for v in samples["value"]]
    timing = pd.DataFrame(
        [
            ["k", "mlp", "ce", "msp", "fit", None, 0.5, None],
            ["k", "mlp", "ce", "msp", "score", 2000, 0.4, None],
            ["k", "mlp", "ce", "", "train", None, 9.0, 2e6],
        ],
        columns=["run_key", "network", "method", "scorer", "stage", "n", "seconds", "bytes"],
    )
    about = report.About(f"name: {EVIL}", {"command": f"oodbench run '{EVIL}'", "python": EVIL})
    spent = costs.of_rows(rows, timing, {("scorer", "msp"): registry.resolve("scorer", "msp")})
    return make_page(rows, samples, about=about, costs=spent, pictures=pictures)
