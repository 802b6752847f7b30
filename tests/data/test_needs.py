"""What a pair needs, down to the sets that lie on a disk."""

from __future__ import annotations

from oodbench.core import registry
from oodbench.core.dataset import Pair
from oodbench.data import needs


def _short(found: list[needs.Need]) -> list[tuple[str, str, str]]:
    return [(n.role, n.spec.label, n.split) for n in found]


def test_each_role_reads_its_split() -> None:
    pair = Pair(
        "digits",
        near={"a": "mnist"},
        far={"b": "noise"},
        shifted={"c": "digits"},
        ood_val="svhn",
        outliers="noise",
    )
    assert _short(needs.of_pair(pair)) == [
        ("train", "digits", "train"), ("val", "digits", "val"), ("test", "digits", "test"),
        ("near: a", "mnist", "test"), ("far: b", "noise", "test"), ("shifted: c", "digits", "test"),
        ("OOD validation", "svhn", "val"), ("outliers", "noise", "train"),
    ]  # fmt: skip
    assert needs.of_pair(Pair(None, near={"arrays": "x"})) == []


def test_a_set_made_from_others_comes_down_to_them() -> None:
    spec = registry.resolve(
        "dataset", {"subset": {"of": {"long-tailed": {"of": "digits", "imbalance": 0.1}}, "classes": [0, 1]}}
    )
    assert [s.label for s in needs.leaves(spec)] == ["digits"]
    wanted = [
        needs.Need("train", spec, "train"),
        needs.Need("train", registry.resolve("dataset", "digits"), "train"),
    ]
    assert _short(needs.of_leaves(wanted)) == [("train", "digits", "train")]


def test_the_same_set_is_built_once() -> None:
    cache: dict[str, object] = {}
    one, other = (
        registry.resolve("dataset", s) for s in ("digits", {"digits": {"classes": list(range(10))}})
    )
    assert needs.opened(one, cache) is needs.opened(other, cache)  # type: ignore[arg-type]
    assert needs.key_of(one) == needs.key_of(other)
    assert needs.key_of(registry.resolve("dataset", {"digits": {"classes": [1]}})) != needs.key_of(one)


def test_every_split_of_one_set() -> None:
    assert [n.split for n in needs.needs_of_set("digits")] == ["train", "val", "test"]


def test_every_registered_set_that_needs_no_parameter_is_named() -> None:
    names = {n.spec.name for n in needs.every_set()}
    assert {"digits", "cifar10", "noise"} <= names
    assert "folder" not in names
