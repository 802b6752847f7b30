"""The suites in the repository: each protocol has one, each loads, and says what data it lacks."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from oodbench.core.errors import UserError
from oodbench.suite.load import load_suite
from oodbench.suite.plan import make_plan
from tests.data.pairs.built import SUITES

PROTOCOLS = sorted(str(f.relative_to(SUITES)) for f in SUITES.rglob("*.yaml"))


LARGE = [
    *(f"als/{n}.yaml" for n in ("mnist", "svhn", "cifar10", "cifar+10", "cifar+50", "tinyimagenet")),
    *(
        f"openood/{n}{kind}.yaml"
        for n in ("cifar10", "cifar100", "imagenet200", "imagenet1k")
        for kind in ("", "-checkpoints")
    ),
    "openood/cifar10-training.yaml",
    "openood/cifar100-training.yaml",
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
    with pytest.raises(UserError) as caught:
        make_plan(load_suite(SUITES / file))
    lines = str(caught.value).splitlines()
    assert all(re.search(r"is not here; looked for it in .*; to get it: ", line) for line in lines)
    commands = [line.rpartition("; to get it: ")[2] for line in lines]
    assert len(set(commands)) == len(commands), "a download is told once"


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenet200", "imagenet1k"])
def test_openoods_board_is_one_command(name: str) -> None:
    """Each scorer is beside its published figures, and is tuned as OpenOOD tunes it."""
    suite = load_suite(f"openood/{name}-checkpoints")
    first = suite.networks[0].label
    published = [f["scorer"] for f in suite.reference if "scorer" in f and f.get("network", first) == first]
    assert published == [s.label for s in suite.scorers]
    assert suite.tune == ("ood-val:openood",)
    assert {f["method"] for f in suite.reference} == {m.label for m in suite.methods}
    assert {"react(fit_on=val)", "ash(variant=b)", "vim(dim=256)", "openmax(alpha=3)"} <= set(published)
    accuracy = {"cifar10": 95.06, "cifar100": 77.25, "imagenet200": 86.37, "imagenet1k": 76.18}
    assert suite.reference[0]["id_accuracy"] == accuracy[name]


BENCHMARKS = {
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "imagenet200": "imagenet200_ood",
    "imagenet1k": "imagenet1k_ood",
}
THEIRS = {
    "react(fit_on=val)": "ReAct", "ash(variant=b)": "ASH", "vim(dim=256)": "VIM",
    "openmax(alpha=3)": "OpenMax", "energy": "EBO", "temperature-scaling": "TempScale",
    "adascale": "AdaSCALE-A", "adascale(variant=l)": "AdaSCALE-L", "weiper": "WeiPer+KLD",
}  # fmt: skip
"""What the leaderboard calls a scorer, where that is another name."""


ARCHS = {"": "ResNet18", "resnet50": "ResNet50", "vit_b_16": "ViT-B/16", "swin_t": "Swin-T"}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_figures_are_those_of_the_leaderboard(name: str, shared: Path) -> None:
    table = pd.read_csv(shared / "published" / "openood-v1.5.csv")
    own = table[(table.benchmark == BENCHMARKS[name]) & (table.training == "CrossEntropy")]
    by_name = own.assign(key=own.postprocessor.str.lower()).set_index(["arch", "key"])
    for figure in load_suite(f"openood/{name}-checkpoints").reference:
        if "scorer" in figure:
            arch = ARCHS[figure.get("network", "")]
            row = by_name.loc[(arch, THEIRS.get(figure["scorer"], figure["scorer"]).lower())]
            for value in ("near_auroc", "far_auroc"):
                assert figure[value] == row[value], figure
                assert figure.get(f"{value}_std", 0) == (
                    row[f"{value}_std"] if f"{value}_std" in figure else 0
                )
