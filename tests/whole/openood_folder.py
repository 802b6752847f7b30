"""A folder as OpenOOD's download leaves it for CIFAR-10, with few pictures, and a ResNet-18 of random
weights. They are made from pictures that scikit-image and scikit-learn carry, the same on every machine. What
OpenOOD says of them is stored in openood_run.npz by make_openood_run.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, TRAIN, VAL, TEST, OOD = 10, 60, 16, 12, 8
"""Classes, and how many pictures each list has. VAL and OOD are powers of two: areas of OpenOOD's search are
then exact, so that equal ones are equal there too."""
KNOWN = ("astronaut", "chelsea", "coffee", "motorcycle_left", "ihc")
"""Photographs of which the left halves are classes 0 to 4 and the right halves classes 5 to 9."""
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
"""What OpenOOD normalises CIFAR-10 by."""

Pixels = np.ndarray


def _photograph(name: str) -> Pixels:
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png") as image:
        return np.asarray(image.convert("RGB"))


def _crop(image: Pixels, height: int, width: int, rng: np.random.RandomState) -> Pixels:
    top, left = rng.randint(image.shape[0] - height), rng.randint(image.shape[1] - width)
    return image[top : top + height, left : left + width]


def _known(count: int, seed: int) -> Iterator[tuple[Pixels, int]]:
    """Every second pixel of a crop of half a photograph, and the class that the half is."""
    rng = np.random.RandomState(seed)
    photographs = [_photograph(n) for n in KNOWN]
    for i in range(count):
        image = photographs[i % len(KNOWN)]
        half = image.shape[1] // 2
        right = i % CLASSES >= len(KNOWN)
        yield _crop(image[:, half:] if right else image[:, :half], 64, 64, rng)[::2, ::2], i % CLASSES


def _unknown(of: str, height: int, width: int, count: int, seed: int, grey: bool = False) -> Iterator[Pixels]:
    rng, image = np.random.RandomState(seed), _photograph(of)
    for _ in range(count):
        crop = _crop(image, height, width, rng)
        yield crop[..., 0] if grey else crop


def _digits(count: int, seed: int, coloured: bool) -> Iterator[Pixels]:
    """scikit-learn's digits, grey of 28 pixels or bright of 32 on a coloured ground."""
    from sklearn.datasets import load_digits

    rng = np.random.RandomState(seed)
    images = load_digits().images.astype(np.uint8)
    for i in range(count):
        big = np.kron(images[seed + i] * 15, np.ones((3, 3), dtype=np.uint8))
        if not coloured:
            yield np.pad(big, 2)
            continue
        ground = np.broadcast_to(rng.randint(0, 120, (1, 1, 3)), (32, 32, 3))
        yield np.maximum(ground, np.pad(big, 4)[..., None]).astype(np.uint8)


def _lists() -> Mapping[str, list[tuple[str, Pixels, int]]]:
    """Name of a list -> path below images_classic/, picture, label. Kinds are those of the real sets, and
    sizes where one has any.

    Of the pictures that are made smaller, torch's resizing and Pillow's give the same pixels. Of most they
    differ in a few values by one grey level, which moves a metric by a place among so few pictures."""
    made: dict[str, list[tuple[str, Pixels, int]]] = {}
    for i, (split, count) in enumerate((("train", TRAIN), ("val", VAL), ("test", TEST))):
        folder = "train" if split == "train" else "test"
        made[f"{split}_cifar10"] = [
            (f"cifar10/{folder}/class{c}/{split}{j}.png", x, c) for j, (x, c) in enumerate(_known(count, i))
        ]
    others = {
        "val_tin": ("tin/val", _unknown("motorcycle_right", 64, 64, OOD, 3)),
        "test_cifar100": ("cifar100/test", _unknown("color", 32, 32, OOD, 4)),
        "test_tin": ("tin/test", _unknown("brick", 64, 64, OOD, 5)),
        "test_mnist": ("mnist/test", _digits(OOD, 6, coloured=False)),
        "test_svhn": ("svhn/test", _digits(OOD, 30, coloured=True)),
        "test_texture": ("texture/banded", _unknown("cell", 96, 131, OOD, 8, grey=True)),
        "test_places365": ("places365/airfield", _unknown("coins", 256, 256, OOD, 9)),
    }
    for name, (folder, pictures) in others.items():
        made[name] = [(f"{folder}/{j}.png", x, -1) for j, x in enumerate(pictures)]
    return made


def write_folder(root: Path) -> None:
    """benchmark_imglist/cifar10/*.txt and images_classic/ below `root`."""
    lists = root / "benchmark_imglist" / "cifar10"
    lists.mkdir(parents=True)
    for name, entries in _lists().items():
        for path, pixels, _ in entries:
            file = root / "images_classic" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        (lists / f"{name}.txt").write_text("".join(f"{path} {label}\n" for path, _, label in entries))


def body_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random weights of a ResNet, by name, all but the head's (`fc`): He's, each from its own place among the
    sorted names; batch normalisation as it begins, its bias moved."""
    made = {}
    for i, (name, shape) in enumerate(sorted(shapes.items())):
        rng = np.random.RandomState(1000 + i)
        if name.startswith("fc."):
            continue
        if len(shape) == 4:
            value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("weight", "running_var")):
            value = np.ones(shape)
        elif name.endswith("bias"):
            value = 0.1 * rng.standard_normal(shape)
        else:  # running_mean, num_batches_tracked
            value = np.zeros(shape)
        made[name] = value.astype(np.int64 if name.endswith("tracked") else np.float32)
    return made
