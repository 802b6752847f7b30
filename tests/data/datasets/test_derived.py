"""Sets made from other sets: classes of one, long tails, wrong labels, corruptions, several joined."""

from __future__ import annotations

import pytest
import torch

from oodbench.core.dataset import Geometry
from oodbench.core.errors import SpecError
from oodbench.data.corruptions import corrupt
from tests.data.written import build


def test_subset_relabels_known_classes_and_keeps_unknown_labels() -> None:
    whole = build("digits")
    known = build({"subset": {"of": "digits", "classes": [7, 2]}})
    assert known.classes == ("7", "2")
    for split in whole.splits:
        mine, all_ = known[split], whole[split]
        keep = [i for i, c in enumerate(all_.labels.tolist()) if c in (7, 2)]
        assert mine.labels.tolist() == [[7, 2].index(int(all_.labels[i])) for i in keep]
        assert torch.equal(mine.read(range(len(mine))), all_.read(keep))
        assert list(mine.ids) == [all_.ids[i] for i in keep]
    unknown = build({"subset": {"of": "digits", "classes": [7, 2], "relabel": False}})
    assert set(unknown["test"].labels.tolist()) == {2, 7}
    assert unknown["test"].digest != known["test"].digest


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "at least one"),
        ([1, 1], "different class numbers"),
        ([3, 10], "classes 0 to 9, got 10"),
        ([-1], "greater than or equal to 0"),
    ],
)
def test_subset_refuses_what_is_no_choice_of_classes(classes: list[int], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build({"subset": {"of": "digits", "classes": classes}})


def test_a_long_tail_is_ldams_profile() -> None:
    whole = build("mnist-5k")
    tail = build({"long-tailed": {"of": "mnist-5k", "imbalance": 0.1}})
    # github.com/kaidic/LDAM-DRW: int(img_max * imb_factor ** (cls_idx / (cls_num - 1.0)))
    assert tail["train"].labels.bincount().tolist() == [int(300 * 0.1 ** (i / 9)) for i in range(10)]
    assert tail["test"].digest == whole["test"].digest
    assert tail["val"].digest == whole["val"].digest
    assert set(tail["train"].ids) <= set(whole["train"].ids)
    again = build({"long-tailed": {"of": "mnist-5k", "imbalance": 0.1, "seed": 0}})
    other = build({"long-tailed": {"of": "mnist-5k", "imbalance": 0.1, "seed": 1}})
    assert again["train"].digest == tail["train"].digest != other["train"].digest
    assert build({"long-tailed": {"of": "digits", "imbalance": 0.0001}})["train"].labels.bincount().min() == 1


def test_sampled_draws_training_images_once_and_for_all() -> None:
    whole, part = build("digits"), build({"sampled": {"of": "digits", "count": 200}})
    assert len(part["train"]) == 200
    assert len(set(part["train"].ids)) == 200
    assert set(part["train"].ids) <= set(whole["train"].ids)
    assert len(part["train"].labels.unique()) == 10
    assert part["val"].digest == whole["val"].digest
    assert part["test"].digest == whole["test"].digest
    again, other = (build({"sampled": {"of": "digits", "count": 200, "seed": seed}}) for seed in (0, 1))
    assert again["train"].digest == part["train"].digest != other["train"].digest
    assert build({"sampled": {"of": "digits"}})["train"].digest == whole["train"].digest  # it has no 10,000


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_label_noise_is_in_training_alone_and_at_its_rate(kind: str) -> None:
    whole = build("mnist-5k")
    noisy = build({"label-noise": {"of": "mnist-5k", "rate": 0.3, "kind": kind}})
    true, given = whole["train"].labels, noisy["train"].labels
    wrong = true != given
    assert abs(float(wrong.float().mean()) - 0.3) < 0.03  # 3.6 standard errors at 3,000 labels
    shifts = ((given - true) % 10)[wrong].bincount(minlength=10)
    if kind == "pair":
        assert shifts.tolist() == [0, int(wrong.sum())] + [0] * 8
    else:
        expected = float(wrong.sum()) / 9
        assert (
            float(((shifts[1:] - expected) ** 2 / expected).sum()) < 26.1
        )  # chi-squared, 8 degrees of freedom, p = 0.001
    assert noisy["test"].digest == whole["test"].digest
    assert noisy["val"].digest == whole["val"].digest
    assert torch.equal(noisy["train"].read([7]), whole["train"].read([7]))


def test_joined_sets_keep_or_number_on_their_classes() -> None:
    parts = [{"subset": {"of": "digits", "classes": [c]}} for c in (3, 5)]
    plain, distinct = build({"joined": {"of": parts}}), build({"joined": {"of": parts, "distinct": True}})
    a, b = (build(p)["test"] for p in parts)
    assert plain["test"].labels.unique().tolist() == [0]
    assert distinct["test"].labels.tolist() == [0] * len(a) + [1] * len(b)
    assert distinct.classes == ("3", "5")
    mixed = [len(a), 0, len(a) + 1]
    assert torch.equal(distinct["test"].read(mixed), torch.cat([b.read([0]), a.read([0]), b.read([1])]))
    with pytest.raises(SpecError, match="at least one"):
        build({"joined": {"of": []}})


def test_corrupted_sets_are_read_at_the_networks_size() -> None:
    clean = build("mnist-5k")["test"]
    spec = {"of": "mnist-5k", "kind": "contrast", "severity": 4}
    small = build({"corrupted": spec})["test"]
    geometry = Geometry((3, 14, 14))
    expected = corrupt(clean.read([3, 5], geometry), "contrast", 4, [3, 5])
    assert torch.equal(small.read([3, 5], geometry), expected)
    assert torch.equal(small.labels, clean.labels)
    digests = {
        build({"corrupted": spec | more})["test"].digest
        for more in ({}, {"severity": 5}, {"kind": "fog"}, {"scale": "large"})
    }
    assert len(digests | {clean.digest}) == 5
    with pytest.raises(SpecError, match="severity"):
        build({"corrupted": spec | {"severity": 6}})
