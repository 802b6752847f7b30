"""OpenOOD's pairs name its lists, and say where validation is from."""

from __future__ import annotations

from pathlib import Path

from oodbench.core import registry
from tests.data.pairs.built import pair_of


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
