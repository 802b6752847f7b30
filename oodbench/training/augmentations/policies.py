"""Augmentations that draw from a set of operations, and those that mix what comes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from oodbench.core.dataset import Dataset, Geometry
from oodbench.core.registry import augmentation
from oodbench.data.images import to_float
from oodbench.training.augmentations.operations import operate
from oodbench.training.randomness import dirichlet

_FRACTALS: Any = "fractals"
_SIGNED = ("shear-x", "shear-y", "translate-x", "translate-y", "rotate")
_ENHANCE = ("brightness", "color", "contrast", "sharpness")

SPACES: dict[str, tuple[str, ...]] = {
    "torchvision": ("identity", *_SIGNED, *_ENHANCE, "posterize", "solarize", "autocontrast", "equalize"),
    "osr": (
        "autocontrast", "equalize", "invert", "rotate", "posterize", "solarize", "solarize-add", "color",
        "contrast",
        "brightness", "sharpness", "shear-x", "shear-y", "cutout", "translate-x", "translate-y",
    ),
    "osr-digits": (
        "autocontrast", "equalize", "invert", "posterize", "solarize", "solarize-add", "color", "contrast",
        "brightness",
        "sharpness", "shear-x", "shear-y", "cutout",
    ),
}  # fmt: skip
"""What RandAugment draws from."""


def drawn(names: Sequence[str], count: int, rng: torch.Generator) -> tuple[list[str], list[float]]:
    """An operation and a sign for each of `count` images; the accelerator is waited for once."""
    choice = torch.randint(0, len(names), (count,), generator=rng, device=rng.device)
    sign = torch.randint(0, 2, (count,), generator=rng, device=rng.device)
    chosen, signs = torch.stack([choice, sign]).tolist()
    return [names[i] for i in chosen], [2.0 * s - 1 for s in signs]


@augmentation(
    "randaugment",
    source=(
        "Cubuk et al., NeurIPS 2020; torchvision 0.29 transforms.RandAugment; osr spaces:"
        " data/augmentations/randaugment.py of sgvaze/osr_closed_set_all_you_need"
    ),
)
class RandAugment:
    """RandAugment: `operations` draws for each image from the `space`, all at the same `magnitude` of 30,
    nearest-neighbour resampling.

    torchvision: its 14 operations and ranges (defaults 2 and 9; OpenOOD uses 1 and 14). osr: the 16 of the
    open-set literature, and osr-digits its 13 for digits, whose translations and holes are in pixels whatever
    the size of the image."""

    def __init__(
        self, *, operations: NonNegativeInt = 2, magnitude: Annotated[float, Field(ge=0, le=30)] = 9.0,
        space: Literal["torchvision", "osr", "osr-digits"] = "torchvision",
    ) -> None:  # fmt: skip
        self.operations, self.magnitude, self.space = operations, magnitude, space

    def strength(self, name: str, sign: float, height: int, width: int) -> float:
        m, own = self.magnitude / 30, self.space == "torchvision"
        if name in ("shear-x", "shear-y"):
            return sign * 0.3 * m
        if name in ("translate-x", "translate-y"):
            side = width if name == "translate-x" else height
            return sign * (int(150 / 331 * side * m) if own else 100 * m)
        if name == "rotate":
            return sign * 30 * m
        if name in _ENHANCE:
            return 1 + sign * 0.9 * m if own else 0.1 + 1.8 * m
        if name == "posterize":
            return 8 - round(4 * m) if own else max(1, int(4 * m))
        if name == "solarize":
            return 255 * (1 - m) if own else 256 * m
        return {"solarize-add": 110 * m, "cutout": 40 * m}.get(name, 0.0)

    def __call__(self, inputs: Tensor, rng: torch.Generator) -> Tensor:
        for _ in range(self.operations):
            names, signs = drawn(SPACES[self.space], len(inputs), rng)
            values = [self.strength(n, s, *inputs.shape[-2:]) for n, s in zip(names, signs, strict=True)]
            inputs = operate(inputs, names, values, rng)
        return inputs


class Levels:
    """AugMix's operations with their random levels, bilinear resampling; level ~ U(0.1, severity), of 10."""

    def __init__(self, severity: float, all_operations: bool) -> None:
        self.severity = severity
        self.names = (
            "autocontrast",
            "equalize",
            "posterize",
            "solarize",
            *_SIGNED,
            *(_ENHANCE if all_operations else ()),
        )

    def strength(self, name: str, sign: float, level: float, height: int, width: int) -> float:
        share = level / 10
        if name in ("shear-x", "shear-y"):
            return sign * 0.3 * share
        if name in ("translate-x", "translate-y"):
            return sign * int((width if name == "translate-x" else height) / 3 * share)
        if name in _ENHANCE:
            return 0.1 + 1.8 * share
        whole = {
            "rotate": sign * int(30 * share),
            "posterize": 4 - int(4 * share),
            "solarize": 256 - int(256 * share),
        }
        return whole.get(name, 0.0)

    def __call__(self, images: Tensor, active: Sequence[bool], rng: torch.Generator) -> Tensor:
        """One operation on each image that is active."""
        names, signs = drawn(self.names, len(images), rng)
        names = [n if a else "identity" for n, a in zip(names, active, strict=True)]
        level = torch.rand(len(images), generator=rng, device=rng.device) * (self.severity - 0.1) + 0.1
        values = [
            self.strength(*v, *images.shape[-2:]) for v in zip(names, signs, level.tolist(), strict=True)
        ]
        return operate(images, names, values, rng, "bilinear")


Severity = Annotated[float, Field(gt=0.1, le=10)]


@augmentation(
    "augmix", source="Hendrycks et al., ICLR 2020; cifar.py and augmentations.py of google-research/augmix"
)
class AugMix:
    """AugMix: (1 - m) x + m sum_i w_i chain_i(x), w ~ Dirichlet(1), m ~ U(0, 1); each of `chains` chains is 1
    to 3 random operations.

    `all_operations` adds those that overlap with common corruptions (brightness, color, contrast, sharpness).
    The consistency loss is the method `augmix`."""

    def __init__(
        self, *, severity: Severity = 3.0, chains: PositiveInt = 3, all_operations: bool = False
    ) -> None:
        self.levels, self.chains = Levels(severity, all_operations), chains

    def __call__(self, inputs: Tensor, rng: torch.Generator) -> Tensor:
        n = len(inputs)
        weights = dirichlet(torch.ones(n, self.chains, device=inputs.device), rng)
        share = torch.rand(n, 1, 1, 1, generator=rng, device=inputs.device)
        mixed = torch.zeros_like(inputs)
        for chain in range(self.chains):
            depths = torch.randint(1, 4, (n,), generator=rng, device=rng.device).tolist()
            image = inputs
            for step in range(max(depths)):
                image = self.levels(image, [d > step for d in depths], rng)
            mixed += weights[:, chain].view(n, 1, 1, 1) * image
        return torch.lerp(inputs, mixed, share.to(inputs.dtype)).clamp(0, 1)


@augmentation(
    "pixmix", source="Hendrycks et al., CVPR 2022; cifar.py and pixmix_utils.py of andyzoujm/pixmix"
)
class PixMix:
    """PixMix: up to `rounds` times an image is mixed, by adding or multiplying, with a structured picture or
    an augmented copy of itself.

    It starts from itself or an augmented copy (even odds). add: a (2x - 1) + b (2y - 1), multiply: (2x)^a
    (2y)^b, brought back to [0, 1]; even odds of a ~ Beta(beta, 1), b ~ Beta(1, beta) and of a = 1 + Beta(1,
    beta), b = -Beta(1, beta). Pictures are drawn from the training split of `pictures` (the authors: fractals
    and feature visualisations; default: generated ones)."""

    def __init__(
        self, *, beta: PositiveFloat = 3.0, rounds: NonNegativeInt = 4, severity: Severity = 3.0,
        all_operations: bool = False, pictures: Dataset = _FRACTALS,
    ) -> None:  # fmt: skip
        self.beta, self.rounds, self.pictures = beta, rounds, pictures
        self.levels = Levels(severity, all_operations)
        self._held: dict[Any, Tensor] = {}

    def held(self, inputs: Tensor) -> Tensor:
        """All pictures at the size of the inputs, on their device."""
        key = (tuple(inputs.shape[1:]), inputs.device, inputs.dtype)
        if key not in self._held:
            samples = self.pictures["train"]
            channels, height, width = inputs.shape[1:]
            images = samples.read(range(len(samples)), Geometry((channels, height, width)))
            self._held[key] = to_float(images).to(inputs.device, inputs.dtype)
        return self._held[key]

    def __call__(self, inputs: Tensor, rng: torch.Generator) -> Tensor:
        n, pictures = len(inputs), self.held(inputs)

        def even() -> Tensor:
            return torch.rand(n, 1, 1, 1, generator=rng, device=inputs.device) < 0.5

        def power() -> Tensor:
            # U^(1 / beta) ~ Beta(beta, 1), and one less it ~ Beta(1, beta)
            return torch.rand(n, 1, 1, 1, generator=rng, device=inputs.device, dtype=inputs.dtype) ** (
                1 / self.beta
            )

        everyone = [True] * n
        mixed = torch.where(even(), self.levels(inputs, everyone, rng), inputs)
        rounds = torch.randint(0, self.rounds + 1, (n, 1, 1, 1), generator=rng, device=inputs.device)
        for number in range(self.rounds):
            picture = pictures[torch.randint(0, len(pictures), (n,), generator=rng, device=inputs.device)]
            other = torch.where(even(), self.levels(inputs, everyone, rng), picture)
            u, v, inward = power(), power(), even()
            a, b = torch.where(inward, u, 2 - u), torch.where(inward, 1 - v, v - 1)
            added = (a * (2 * mixed - 1) + b * (2 * other - 1) + 1) / 2
            # the log keeps the power of a black pixel finite
            multiplied = (
                ((2 * mixed) ** a)
                * torch.exp((b * (2 * other).clamp(min=1e-37).log()).clamp(max=math.log(1e30)))
                / 2
            )
            result = torch.where(even(), added, multiplied).clamp(0, 1)
            mixed = torch.where(rounds > number, result, mixed)
        return mixed
