"""Samples: subsets, joins, the part carved from train, and the one place of resizing and colours, against
Pillow."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from PIL import Image

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.identity import tensor_digest
from oodbench.data.images import fit, statistics, to_float
from oodbench.data.samples import Joined, Subset, TensorSamples, carve, of_classes, select


def samples(
    n: int = 40, classes: int = 4, shape: tuple[int, int, int] = (3, 6, 5), seed: int = 0
) -> TensorSamples:
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), generator=rng, dtype=torch.uint8)
    return TensorSamples(images, torch.arange(n) % classes, [f"img/{i}" for i in range(n)])


def test_all_kinds_keep_the_protocol() -> None:
    whole = samples()
    for made in (
        whole,
        Subset(whole, torch.tensor([3, 1])),
        Joined([whole, samples(seed=1)]),
        of_classes(whole, [2]),
        *carve(whole),
    ):
        assert isinstance(made, Samples)
        assert len(made) == len(made.labels) == len(made.ids)
        assert len(made.digest) == 64


def test_a_subset_reads_its_own_places() -> None:
    whole = samples()
    part = Subset(whole, torch.tensor([30, 2, 7]), torch.tensor([9, 8, 7]))
    assert torch.equal(part.read([2, 0]), whole.images[[7, 30]])
    assert part.labels.tolist() == [9, 8, 7]
    assert list(part.ids) == ["img/30", "img/2", "img/7"]
    assert part.ids[1:] == ["img/2", "img/7"]
    nested = Subset(part, torch.tensor([1]))
    assert torch.equal(nested.read([0]), whole.images[[2]])
    assert nested.labels.tolist() == [8]
    assert part.read([], Geometry((1, 4, 4))).shape == (0, 1, 4, 4)


def test_digests_follow_content_labels_and_order() -> None:
    whole = samples()
    same = TensorSamples(whole.images.clone(), whole.labels.clone(), ["other"] * 40)
    assert same.digest == whole.digest  # names are no content
    changed = whole.images.clone()
    changed[5, 0, 0, 0] ^= 1
    subsets = [Subset(whole, torch.tensor(i)) for i in ([1, 2], [2, 1], [1, 3])]
    subsets.append(Subset(whole, torch.tensor([1, 2]), torch.tensor([0, 0])))
    digests = [
        whole.digest,
        TensorSamples(changed, whole.labels).digest,
        TensorSamples(whole.images, whole.labels + 1).digest,
    ]
    digests += [s.digest for s in subsets] + [Joined([whole, same]).digest]
    assert len(set(digests)) == len(digests)
    assert (
        tensor_digest(torch.zeros(4))
        != tensor_digest(torch.zeros(2, 2))
        != tensor_digest(torch.zeros(2, 2, dtype=torch.float64))
    )


def test_joined_sets_read_across_their_border() -> None:
    a, b = samples(10), samples(7, seed=1)
    both = Joined([a, b])
    order = [16, 0, 9, 10, 3]
    assert torch.equal(
        both.read(order), torch.cat([b.images[[6]], a.images[[0, 9]], b.images[[0]], a.images[[3]]])
    )
    assert both.labels.tolist() == a.labels.tolist() + b.labels.tolist()


def test_classes_keep_their_order_and_unknown_labels_are_no_class() -> None:
    whole = TensorSamples(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.tensor([3, -1, 0, 3, 1, -1]))
    chosen = of_classes(whole, [3, 1])
    assert chosen.indices.tolist() == [0, 3, 4]
    assert chosen.labels.tolist() == [0, 0, 1]
    assert of_classes(whole, [3, 1], relabel=False).labels.tolist() == [3, 3, 1]
    assert len(of_classes(whole, [7])) == 0
    assert select(whole, [3, 1]).labels.tolist() == [0, 0, 1]


def test_what_is_carved_is_drawn_per_class_once_and_for_all() -> None:
    whole = samples(200, 4)
    rest, carved = carve(whole, 0.1)
    assert carved.labels.bincount().tolist() == [5] * 4
    assert sorted(rest.indices.tolist() + carved.indices.tolist()) == list(range(200))
    assert rest.indices.tolist() == sorted(rest.indices.tolist())
    again = carve(samples(200, 4), 0.1)
    assert (again[0].digest, again[1].digest) == (rest.digest, carved.digest)


def test_carving_draws_what_a_search_per_class_would() -> None:
    """The draw of every stored run: classes ascending, one permutation of each class's places, from one
    generator."""
    whole = samples(500, 7)
    shuffled = Subset(whole, torch.randperm(500, generator=torch.Generator().manual_seed(3)))
    rng, expected = torch.Generator().manual_seed(20_260_000), set()
    for label in range(7):
        mine = torch.nonzero(shuffled.labels == label).flatten()
        expected |= set(
            mine[torch.randperm(len(mine), generator=rng)[: max(1, round(0.1 * len(mine)))]].tolist()
        )
    assert set(carve(shuffled, 0.1)[1].indices.tolist()) == expected


def test_carving_a_million_images_of_a_thousand_classes_takes_no_minute() -> None:
    """A search per class took half a minute, at every start on ImageNet."""
    labels = torch.arange(1_000_000) % 1000
    whole = TensorSamples(torch.zeros(1, dtype=torch.uint8).expand(1_000_000), labels, [], "a digest")
    start = time.process_time()
    rest, carved = carve(whole, 0.01)
    assert (len(rest), len(carved)) == (990_000, 10_000)
    assert time.process_time() - start < 10
    few = carve(samples(4, 4), 0.1)
    assert few[1].labels.tolist() == [0, 1, 2, 3]  # at least one of each class
    assert carve(samples(8, 2), 0.5)[1].labels.bincount().tolist() == [2, 2]


# ---------------------------------------------------------------- one place of geometry


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from sklearn.datasets import load_sample_images

    return load_sample_images().images[0].copy()  # (427, 640, 3)


@pytest.mark.parametrize("size", [(32, 32), (100, 60), (500, 700)])
def test_resizing_is_pillows_antialiased_bilinear(photo: np.ndarray, size: tuple[int, int]) -> None:
    got = (
        fit(torch.from_numpy(photo).permute(2, 0, 1)[None], Geometry((3, *size)))[0]
        .permute(1, 2, 0)
        .numpy()
        .astype(int)
    )
    expected = np.asarray(Image.fromarray(photo).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(got - expected).max() <= 1


def test_the_shorter_edge_is_resized_then_the_centre_cut(photo: np.ndarray) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize

    got = (
        fit(torch.from_numpy(photo).permute(2, 0, 1)[None], Geometry((3, 224, 224), 256))[0]
        .permute(1, 2, 0)
        .numpy()
        .astype(int)
    )
    expected = np.asarray(Compose([Resize(256), CenterCrop(224)])(Image.fromarray(photo))).astype(int)
    assert got.shape == (224, 224, 3)
    assert np.abs(got - expected).max() <= 1
    wide = fit(
        torch.from_numpy(photo.transpose(1, 0, 2).copy()).permute(2, 0, 1)[None], Geometry((3, 31, 31), 37)
    )[0]
    other = np.asarray(
        Compose([Resize(37), CenterCrop(31)])(Image.fromarray(photo.transpose(1, 0, 2)))
    ).astype(int)
    assert np.abs(wide.permute(1, 2, 0).numpy() - other).max() <= 1


def test_colours_both_ways(photo: np.ndarray) -> None:
    x = torch.from_numpy(photo[:50, :60].copy()).permute(2, 0, 1)[None]
    grey = fit(x, Geometry((1, 50, 60)))
    assert grey.dtype == torch.uint8
    assert (
        np.abs(
            grey[0, 0].numpy().astype(int)
            - np.asarray(Image.fromarray(photo[:50, :60]).convert("L")).astype(int)
        ).max()
        <= 1
    )
    back = fit(grey, Geometry((3, 50, 60)))
    assert torch.equal(back, grey.expand(-1, 3, -1, -1))
    floats = fit(x.float() / 255, Geometry((1, 50, 60)))
    assert floats.dtype == torch.float32
    assert float((floats * 255 - grey).abs().max()) <= 0.51
    with pytest.raises(ValueError, match="cannot turn 2 channels into 3"):
        fit(torch.zeros(1, 2, 4, 4), Geometry((3, 4, 4)))


def test_each_sample_is_fitted_by_itself() -> None:
    whole = samples(16, shape=(3, 40, 30))
    for geometry in (Geometry((1, 8, 8)), Geometry((3, 20, 20), 24)):
        batch = whole.read(range(16), geometry)
        assert all(torch.equal(whole.read([i], geometry)[0], batch[i]) for i in range(16))


def test_an_image_of_the_right_shape_is_untouched() -> None:
    whole = samples()
    assert torch.equal(whole.read([1, 5], Geometry((3, 6, 5))), whole.images[[1, 5]])


def test_statistics_are_numpys_and_a_plain_channel_gets_one() -> None:
    whole = samples(30)
    whole.images[:, 1] = 51
    mean, std = statistics(to_float(whole.images))
    x = whole.images.numpy() / 255
    assert mean == pytest.approx(x.mean(axis=(0, 2, 3)))
    assert std[0] == pytest.approx(x[:, 0].std())
    assert std[1] == 1.0
