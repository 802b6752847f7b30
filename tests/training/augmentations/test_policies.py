"""Each policy against what its description says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torch import Tensor
from torchvision.transforms import RandAugment

from oodbench.core import registry
from oodbench.training.augmentations import policies
from tests.training.augmentations.common import rng


def test_randaugment_has_torchvisions_space() -> None:
    theirs = RandAugment(num_ops=1, magnitude=14)._augmentation_space(31, (32, 32))
    names = {n.replace("X", "-x").replace("Y", "-y").lower(): n for n in theirs}
    assert set(names) == set(policies.SPACES["torchvision"])
    for magnitude in (0, 5, 14, 30):
        mine = registry.build("augmentation", {"randaugment": {"magnitude": magnitude}})
        for name, other in names.items():
            values, signed = theirs[other]
            expected = float(values[magnitude]) if values.ndim else 0.0
            got = [mine.strength(name, sign, 32, 32) for sign in (1.0, -1.0)]
            if name in ("brightness", "color", "contrast", "sharpness"):
                got = [got[0] - 1, got[1] - 1]
            if name.startswith("translate"):
                expected = int(expected)
            assert got[0] == pytest.approx(expected, abs=1e-5), name
            assert got[1] == pytest.approx(-expected if signed else expected, abs=1e-5), name


def test_randaugment_osr_strengths() -> None:
    augment = registry.build("augmentation", {"randaugment": {"magnitude": 15, "space": "osr"}})
    expected = {
        "rotate": 15.0, "posterize": 2, "solarize": 128.0, "solarize-add": 55.0, "color": 1.0,
        "shear-x": 0.15, "cutout": 20.0,
        "translate-x": 50.0, "invert": 0.0,
    }  # fmt: skip
    for name, value in expected.items():
        assert augment.strength(name, 1.0, 32, 32) == pytest.approx(value)
    assert len(policies.SPACES["osr"]) == 16
    assert set(policies.SPACES["osr"]) - set(policies.SPACES["osr-digits"]) == {
        "rotate",
        "translate-x",
        "translate-y",
    }


def test_randaugment_draws_each_operation_for_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def remember(images: Tensor, names: list[str], values: list[float], generator: torch.Generator) -> Tensor:
        seen.append(names)
        return images

    monkeypatch.setattr(policies, "operate", remember)
    registry.build("augmentation", {"randaugment": {"operations": 3}})(torch.rand(1400, 1, 4, 4), rng())
    assert len(seen) == 3
    counts = {n: seen[0].count(n) for n in policies.SPACES["torchvision"]}
    assert min(counts.values()) > 60
    assert max(counts.values()) < 145
    assert seen[0] != seen[1]


def test_randaugment_of_nothing_changes_nothing() -> None:
    x = torch.rand(4, 3, 8, 8)
    assert torch.equal(registry.build("augmentation", {"randaugment": {"operations": 0}})(x, rng()), x)


def test_augmix_is_a_convex_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """With chains that turn every image white, what is left of x tells m ~ U(0, 1); chains are 1 to 3
    operations deep."""
    augment = registry.build("augmentation", "augmix")
    depth: list[Tensor] = []

    def whiten(images: Tensor, active: list[bool], generator: torch.Generator) -> Tensor:
        depth.append(torch.tensor(active))
        return torch.ones_like(images)

    monkeypatch.setattr(augment, "levels", whiten)
    x = torch.zeros(900, 1, 2, 2)
    out = augment(x, rng())
    assert kstest(out[:, 0, 0, 0].numpy(), "uniform").pvalue > 0.001
    first = torch.stack(depth[:3])
    assert first[0].all()
    assert 0.6 < float(first[1].float().mean()) < 0.73
    assert 0.27 < float(first[2].float().mean()) < 0.4


def test_augmix_weights_are_uniform_on_the_simplex(monkeypatch: pytest.MonkeyPatch) -> None:
    augment = registry.build("augmentation", "augmix")
    calls = iter(range(100))
    chains: list[int] = []

    def first_chain_only(images: Tensor, active: list[bool], generator: torch.Generator) -> Tensor:
        chains.append(next(calls))
        return torch.ones_like(images) if len(chains) <= 3 else torch.zeros_like(images)

    monkeypatch.setattr(augment, "levels", first_chain_only)
    monkeypatch.setattr(torch, "lerp", lambda a, b, share: b)  # the mix alone
    out = augment(torch.zeros(900, 1, 2, 2), rng())
    assert (
        kstest(out[:, 0, 0, 0].numpy(), beta(1, 2).cdf).pvalue > 0.001
    )  # one coordinate of Dirichlet(1, 1, 1)


def test_augmix_levels_stay_within_severity() -> None:
    levels = policies.Levels(3.0, True)
    assert levels.strength("rotate", -1.0, 3.0, 32, 32) == -9
    assert levels.strength("posterize", 1.0, 3.0, 32, 32) == 3
    assert levels.strength("solarize", 1.0, 3.0, 32, 32) == 256 - 76
    assert levels.strength("translate-x", 1.0, 3.0, 40, 32) == 3
    assert levels.strength("translate-y", 1.0, 3.0, 40, 32) == 4
    assert levels.strength("shear-x", -1.0, 2.0, 32, 32) == pytest.approx(-0.06)
    assert levels.strength("color", 1.0, 3.0, 32, 32) == pytest.approx(0.64)
    assert set(policies.Levels(3.0, False).names) == set(levels.names) - {
        "brightness",
        "color",
        "contrast",
        "sharpness",
    }


class Flat:
    """Pictures that are one grey, and a base augmentation that does nothing."""

    def __call__(self, images: Tensor, active: list[bool], generator: torch.Generator) -> Tensor:
        return images


def test_pixmix_adds_and_multiplies() -> None:
    """One round on flat images: what comes out is one of the two formulas for some admissible a and b."""
    augment = registry.build("augmentation", {"pixmix": {"rounds": 1, "beta": 3.0}})
    augment.levels = Flat()
    augment.held = lambda inputs: torch.full_like(inputs[:1], 0.75)
    x = torch.full((4000, 1, 2, 2), 0.375)
    out = augment(x, rng())
    assert all(float(o.min()) == float(o.max()) for o in out[:50])
    same = float((out[:, 0, 0, 0] == 0.375).float().mean())
    assert 0.45 < same < 0.55  # no round at all, half of the time

    generator = np.random.default_rng(0)

    def value() -> float:
        if generator.random() < 0.5:
            return 0.375
        other = 0.375 if generator.random() < 0.5 else 0.75
        if generator.random() < 0.5:
            a, b = generator.beta(3, 1), generator.beta(1, 3)
        else:
            a, b = 1 + generator.beta(1, 3), -generator.beta(1, 3)
        if generator.random() < 0.5:
            return min(1.0, max(0.0, (a * (2 * 0.375 - 1) + b * (2 * other - 1) + 1) / 2))
        return min(1.0, max(0.0, (2 * 0.375) ** a * (2 * other) ** b / 2))

    theirs = [value() for _ in range(4000)]
    assert kstest(out[:, 0, 0, 0].double().numpy(), theirs).pvalue > 0.001


def test_pixmix_of_black_stays_finite() -> None:
    augment = registry.build(
        "augmentation", {"pixmix": {"pictures": {"noise": {"kind": "rademacher", "count": 8}}}}
    )
    out = augment(torch.zeros(64, 3, 16, 16), rng())
    assert torch.isfinite(out).all()
    assert 0 <= float(out.min()) <= float(out.max()) <= 1


def test_pixmix_takes_the_pictures_it_is_given() -> None:
    augment = registry.build("augmentation", {"pixmix": {"pictures": {"noise": {"count": 5, "size": 8}}}})
    held = augment.held(torch.zeros(2, 1, 12, 12))
    assert held.shape == (5, 1, 12, 12)
    assert augment.held(torch.zeros(7, 1, 12, 12)) is held
    fractals = registry.build("augmentation", "pixmix").held(torch.zeros(2, 3, 16, 16))
    assert fractals.shape == (200, 3, 16, 16)
    assert float(fractals.std(dim=(1, 2, 3)).min()) > 0.02
