"""The suites in the repository: each protocol has one, each loads, and says what data it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.suite.load import load_suite
from oodbench.suite.plan import make_plan
from tests.data.pairs.built import SUITES

PROTOCOLS = sorted(str(f.relative_to(SUITES)) for f in SUITES.rglob("*.yaml"))


LARGE = [
    *(f"als/{n}.yaml" for n in ("mnist", "svhn", "cifar10", "cifar+10", "cifar+50", "tinyimagenet")),
    *(f"openood/{n}.yaml" for n in ("cifar10", "cifar100", "imagenet200", "imagenet1k")),
    *(f"ssb/{n}.yaml" for n in ("cub", "aircraft", "scars")),
]


def test_there_is_a_suite_for_each_protocol() -> None:
    small = [
        "fashion-mnist",
        "osr-fashion-mnist",
        "mnist",
        "fashion-mnist-small",
        "osr-fashion-mnist-small",
        "mnist-5k-small",
    ]
    assert {*LARGE, *(f"{n}.yaml" for n in small)} <= set(PROTOCOLS)


@pytest.mark.parametrize("file", PROTOCOLS)
def test_every_suite_loads(file: str) -> None:
    suite = load_suite(SUITES / file)
    assert suite.pairs
    assert suite.methods


@pytest.mark.parametrize("file", LARGE)
def test_a_dry_run_says_what_data_it_lacks(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OODBENCH_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"is not here; looked for it in .*; to get it: "):
        make_plan(load_suite(SUITES / file))
