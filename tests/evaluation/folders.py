"""Results folders and a published table, small and made up, for tests of what reads them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from oodbench.evaluation.csv_text import to_csv
from tests.evaluation.frames import make_rows


def folder(path: Path, rows: pd.DataFrame) -> Path:
    path.mkdir(parents=True)
    (path / "results.csv").write_text(to_csv(rows))
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
