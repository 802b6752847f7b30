"""Images in two sets are found one by one, whatever their order and labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.errors import UserError
from oodbench.data.samples import TensorSamples
from oodbench.suite.overlap import check_ood, check_parts
from tests.data.made import pictures, unlabelled

G = Geometry((3, 32, 32))
TRAIN, VAL, TEST, OTHER = pictures(40, 1), pictures(10, 2), pictures(20, 3), pictures(30, 4)


def of(images: Tensor) -> TensorSamples:
    """Another order and other labels than anybody else's."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(7))
    return TensorSamples(images[order], torch.arange(len(images)) % 3)


KNOWN: dict[str, Samples] = {"train": unlabelled(TRAIN), "val": unlabelled(VAL), "test": unlabelled(TEST)}


def found(**ood: Samples) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_ood("p", KNOWN, ood, G)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (TEST, "the OOD set 'x' is the ID test set, image for image; name another data set"),
        (TRAIN, "the OOD set 'x' is the ID train set, image for image"),
        (VAL, "the OOD set 'x' is the ID val set, image for image"),
        (TRAIN[:10], r"the OOD set 'x' has 10 ID images among its 10 \(10 in train\)"),
        (torch.cat([TEST, TRAIN]), r"has 60 ID images among its 60 \(40 in train, 20 in test\)"),
        (torch.cat([TEST[:19], OTHER[:1]]), r"has 19 ID images among its 20 \(19 in test\)"),
        (torch.cat([TEST, TEST]), r"has 40 ID images among its 40 \(40 in test\)"),
    ],
)
def test_an_ood_set_of_id_images_is_refused(images: Tensor, said: str) -> None:
    with pytest.raises(UserError, match=f"^pair 'p': .*{said}"):
        found(fine=of(OTHER), x=of(images))


def test_some_shared_images_are_one_warning() -> None:
    x = of(torch.cat([OTHER[:15], TRAIN[:3], TEST[:2]]))
    y = of(torch.cat([OTHER[15:], VAL[:1]]))
    assert found(x=x, fine=of(pictures(9, 5)), y=y) == [
        "pair 'p': images are both ID and OOD: 'x' has 5 ID images among its 20 (3 in train, 2 in test); 'y'"
        " has 1 ID images among its 16 (1 in val); `oodbench data audit` lists them"
    ]  # fmt: skip
    assert found(fine=of(OTHER)) == []


def test_one_ood_set_under_two_names_is_refused() -> None:
    with pytest.raises(UserError, match="the OOD sets 'x' and 'y' are the same images; name one"):
        found(x=of(OTHER), fine=of(pictures(9, 5)), y=unlabelled(OTHER))
    assert found(part=of(OTHER[:10]), whole=of(OTHER)) == []


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_test_set_that_is_trained_on_is_refused(name: str) -> None:
    known = KNOWN | {name: of(torch.cat([TEST, OTHER]))}
    with pytest.raises(UserError, match=f"pair 'p': its ID {name} and test sets are the same images"):
        check_parts("p", known, G)
    check_parts("p", KNOWN | {name: of(torch.cat([TEST[:9], OTHER]))}, G)


class _Damaged:
    kind, digest = "image", "0" * 64
    labels, ids = torch.zeros(3, dtype=torch.int64), ("a", "b", "c")

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or UserError("a: cannot be decoded")

    def __len__(self) -> int:
        return 3

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        raise self.error


def test_a_damaged_ood_set_is_left_to_the_run_and_a_damaged_id_set_is_refused() -> None:
    assert found(damaged=_Damaged(), own=_Damaged(OSError("bad disk")), fine=of(OTHER)) == []
    with pytest.raises(UserError, match="the OOD set 'x' is"):
        found(damaged=_Damaged(), x=of(TEST))
    with pytest.raises(UserError, match="a: cannot be decoded"):
        check_parts("p", KNOWN | {"train": _Damaged()}, G)


def test_without_training_images_the_others_are_compared() -> None:
    known = {"test": KNOWN["test"]}
    check_parts("p", known, G)
    check_ood("p", known, {"x": of(OTHER)}, G)
    with pytest.raises(UserError, match="is the ID test set"):
        check_ood("p", known, {"x": of(TEST)}, G)
