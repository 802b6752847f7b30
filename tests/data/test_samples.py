"""Samples: subsets, joins, the part carved from train."""

from __future__ import annotations

import time

import torch

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.identity import tensor_digest
from oodbench.data.samples import (
    Joined,
    Subset,
    TensorSamples,
    carve,
    of_classes,
    part_per_class,
    places_per_class,
    select,
)
from tests.data.made import samples


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


def test_a_part_of_every_class_is_a_share_or_a_count_and_the_same_each_time() -> None:
    labels = torch.tensor([0] * 40 + [1] * 10 + [2] * 3).roll(17)
    tenth = places_per_class(labels, 0.1)
    assert labels[tenth].bincount().tolist() == [4, 1, 1], "one at least"
    assert torch.equal(tenth, places_per_class(labels, 0.1))
    assert torch.equal(tenth, tenth.sort().values)
    assert labels[places_per_class(labels, 5)].bincount().tolist() == [5, 5, 3]
    assert torch.equal(places_per_class(labels, 1.0), torch.arange(53))
    more = places_per_class(labels, 0.5)
    assert torch.isin(tenth, more).all(), "a larger part holds the smaller one"


def test_a_part_per_class_is_identified_by_what_it_holds() -> None:
    whole = TensorSamples(torch.rand(30, 1, 2, 2), torch.arange(30) % 3)
    part = part_per_class(whole, 4)
    assert len(part) == 12
    assert torch.equal(part.read([3]), whole.images[[int(part.indices[3])]])
    assert len({part.digest, part_per_class(whole, 5).digest, whole.digest}) == 3
    assert part.digest == part_per_class(whole, 4).digest
