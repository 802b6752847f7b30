"""Images that stand in two sets are found, exactly and nearly."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from oodbench.core import registry
from oodbench.core.dataset import Geometry, Pair
from oodbench.core.errors import UserError
from oodbench.data import duplicates
from oodbench.data.contract import toy_images
from oodbench.data.duplicates import audit, in_common, looks, pixels_of, shared_images, twins
from oodbench.data.images import fit
from oodbench.data.samples import Joined, Subset, TensorSamples
from oodbench.data.sources import files
from oodbench.data.sources.files import folder
from tests.data.made import pictures, samples, unlabelled
from tests.data.written import write_images


def _found(
    a: torch.Tensor, b: torch.Tensor, bits: int = 6, limit: float = 0.005
) -> list[tuple[int, int, bool]]:
    geometry = Geometry((3, 32, 32))
    pair = [looks(unlabelled(x), geometry, "x") for x in (a, b)]
    return [(i, j, exact) for i, j, exact, _ in twins(*pair, bits, limit)]


def test_copies_are_found_through_jpeg_brightness_and_size() -> None:
    train, test = pictures(300, 0), pictures(40, 1)
    packed = io.BytesIO()
    Image.fromarray(train[7].permute(1, 2, 0).numpy()).save(packed, "JPEG", quality=60)
    test[3] = torch.from_numpy(np.array(Image.open(packed))).permute(2, 0, 1)
    test[11] = (train[100].float() * 0.8 + 20).to(torch.uint8)
    test[20] = fit(fit(train[250:251], Geometry((3, 20, 20))), Geometry((3, 32, 32)))[0]
    test[30] = train[42]
    assert _found(train, test) == [(7, 3, False), (100, 11, False), (250, 20, False), (42, 30, True)]


def test_pictures_that_differ_and_plain_ones_are_not_twins() -> None:
    assert _found(pictures(500, 0), pictures(500, 1)) == []
    plain = torch.full((3, 3, 32, 32), 7, dtype=torch.uint8)
    assert _found(plain[:1], plain[1:] + 1) == []
    assert _found(plain[:1], plain[1:]) == [(0, 0, True), (0, 1, True)]


def test_shared_images_are_found_by_content() -> None:
    images = toy_images(20)
    g = Geometry((1, 8, 8))
    half = TensorSamples(images.images[10:], images.labels[10:])
    assert shared_images(images, half, g) == 10
    assert shared_images(images, toy_images(20, seed=5), g) == 0


def test_order_and_labels_do_not_matter() -> None:
    images = pictures(20, 3)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    one, other = TensorSamples(images, torch.zeros(20)), TensorSamples(images[order], torch.arange(20) % 4)
    g = Geometry((3, 32, 32))
    assert one.digest != other.digest
    assert in_common(one, other, g).all()
    some = TensorSamples(torch.cat([pictures(3, 4), images[5:7]]), torch.zeros(5))
    assert in_common(one, some, g).tolist() == [False] * 3 + [True] * 2
    assert in_common(some, one, g).nonzero()[0].tolist() == [5, 6]


def test_floats_and_levels_of_the_same_picture_are_the_same() -> None:
    images = pictures(5, 3)
    floats = TensorSamples(images.float() / 255, torch.zeros(5))
    assert in_common(unlabelled(images), floats, Geometry((3, 32, 32))).all()
    one, other = (looks(s, Geometry((3, 32, 32)), "x") for s in (unlabelled(images), floats))
    assert [t[2] for t in twins(one, other, 6, 0.005)] == [True] * 5


def test_pixels_of_parts_are_those_of_the_whole() -> None:
    whole, g = samples(12), Geometry((1, 4, 4))
    part = Subset(whole, torch.tensor([7, 0]))
    assert pixels_of(part, g).tolist() == pixels_of(whole, g)[[7, 0]].tolist()
    assert pixels_of(Joined([part, whole]), g).tolist()[2:] == pixels_of(whole, g).tolist()
    assert len(set(pixels_of(whole, g).tolist())) == 12


def test_files_are_decoded_once_and_large_sets_of_them_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "a", ["1.png", "2.png", "3.png"])
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a/2.png", tmp_path / "b/x.png")
    Image.open(tmp_path / "a/3.png").save(tmp_path / "b/y.bmp")  # the same pixels in other bytes
    g = Geometry((3, 8, 8))
    a, b = (folder(n, tmp_path / n, flat=True) for n in "ab")
    assert in_common(a, b, g).tolist() == [True, True]
    monkeypatch.setattr(files, "decode", lambda *_: pytest.fail("decoded"))
    assert in_common(a, b, g).tolist() == [True, True]
    monkeypatch.setattr(duplicates, "DECODED", 2)
    assert in_common(a, b, g).tolist() == [True, False]
    assert in_common(Subset(a, torch.tensor([1, 1, 1])), b, g).tolist() == [True, False]
    assert in_common(Joined([a, b]), a, g).all()
    assert not in_common(a, TensorSamples(torch.zeros(1, 3, 8, 8), torch.zeros(1)), g).any()


def test_audit_refuses_images_of_several_sizes_and_takes_a_geometry(tmp_path: Path) -> None:
    write_images(tmp_path / "id", [f"{c}/{i}.png" for c in "ab" for i in range(9)])
    write_images(tmp_path / "id", ["a/x.png"], size=(9, 9))
    shutil.copytree(tmp_path / "id/a", tmp_path / "ood")
    known = {"folder": {"root": str(tmp_path / "id"), "split": "random"}}
    ood = {"again": {"folder": {"root": str(tmp_path / "ood"), "split": "none"}}}
    with pytest.raises(UserError, match="the ID images differ in size: 18 of 3x8x8"):
        audit(Pair(known, near=ood))
    found, skipped = audit(Pair(known, near=ood, geometry=Geometry((3, 8, 8))))
    assert len([t for t in found if t.set_b == "again" and t.exact]) == 10
    assert not skipped


def test_the_digits_suite_shares_no_image() -> None:
    twins_found, skipped = audit(registry.build("pair", "mnist-5k"))
    assert skipped == []
    assert twins_found == []
