"""What images look like, in a few bytes each: to find those that stand in two sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import dctn
from torch import Tensor

from oodbench.core.dataset import Dataset, Geometry, Pair, Samples
from oodbench.core.errors import UserError
from oodbench.data import needs
from oodbench.data.images import fit, to_float
from oodbench.data.reading import in_parts, read_ahead
from oodbench.data.status import Progress

_SIDE = 16


class Looks(NamedTuple):
    """Of every image: its name, a hash of its pixels, 64 bits of its coarse structure as -1 and 1, a 16x16
    grey copy of mean 0, norm 1."""

    ids: Sequence[str]
    pixels: np.ndarray
    signs: Tensor
    small: Tensor


def looks(samples: Samples, geometry: Geometry, name: str, progress: Progress | None = None) -> Looks:
    """The looks of a set at the size that the network sees.

    Signs: the 8x8 lowest frequencies of the cosine transform of a 32x32 grey copy, above or below their
    median (without the constant)."""
    pixels, signs, small = [], [], []
    done = 0
    for images in read_ahead(samples, geometry, in_parts(len(samples), 512)):
        pixels += [hashlib.sha256(x.contiguous().numpy().tobytes()).digest()[:16] for x in images]
        grey = to_float(fit(images, Geometry((1, 32, 32))))
        waves = dctn(grey[:, 0].numpy(), axes=(1, 2), norm="ortho")[:, :8, :8].reshape(len(images), 64)
        median = np.median(waves[:, 1:], axis=1, keepdims=True)
        signs.append(torch.from_numpy(np.where(waves > median, 1.0, -1.0).astype(np.float32)))
        copy = fit(grey, Geometry((1, _SIDE, _SIDE))).flatten(1)
        copy = copy - copy.mean(1, keepdim=True)
        norm = copy.norm(dim=1, keepdim=True)
        small.append(
            torch.where(norm > 0.1, copy / norm.clamp(min=1e-9), torch.zeros_like(copy))
        )  # a plain image is like no other
        done += len(images)
        if progress is not None:
            progress(name, done, len(samples))
    return Looks(samples.ids, np.array(pixels, dtype="S16"), torch.cat(signs), torch.cat(small))


def twins(a: Looks, b: Looks, bits: int, limit: float) -> Iterator[tuple[int, int, bool, float]]:
    """(place in a, place in b, equal in every pixel, 1 - correlation of the small copies), for each image of
    `b` the closest of `a`."""
    first: dict[bytes, int] = {}
    for i, p in enumerate(a.pixels.tolist()):
        first.setdefault(p, i)
    for start in range(0, len(b.ids), 1024):
        signs, small = b.signs[start : start + 1024], b.small[start : start + 1024]
        best = torch.full((len(signs),), float("inf"))
        who = torch.zeros(len(signs), dtype=torch.int64)
        for at in range(0, len(a.ids), 16_384):
            # A dot product of signs is 64 minus twice the number of bits that differ.
            rows, columns = torch.nonzero(signs @ a.signs[at : at + 16_384].T >= 64 - 2 * bits, as_tuple=True)
            for part in range(0, len(rows), 65_536):
                r, c = rows[part : part + 65_536], columns[part : part + 65_536]
                far = 1 - (small[r] * a.small[at + c]).sum(1)
                closest = best.scatter_reduce(0, r, far, "amin")
                improved = (far == closest[r]) & (far < best[r])
                who[r[improved]] = at + c[improved]
                best = closest
        for row in range(len(signs)):
            place = first.get(b.pixels[start + row])
            if place is not None:
                yield place, start + row, True, 0.0
            elif float(best[row]) <= limit:
                yield int(who[row]), start + row, False, float(best[row])


class Twin(NamedTuple):
    """Two images of different sets that are the same or nearly so: 1 - correlation of small grey copies."""

    set_a: str
    image_a: str
    set_b: str
    image_b: str
    exact: bool
    difference: float


def audit(
    pair: Pair, *, limit: float = 0.005, bits: int = 6, progress: Progress | None = None
) -> tuple[list[Twin], list[str]]:
    """(Images that stand in two sets of a pair, what could not be looked at.)

    Compared: ID train and validation with ID test, each of these with every OOD set, and OOD validation and
    outliers with every OOD test set. Candidates have perceptual hashes (64 bits of a cosine transform) that
    differ in at most `bits`; of a near twin, the 16x16 grey copies then correlate by 1 - `limit` or more.
    Exact twins are equal in every pixel at the network's size."""
    known: dict[str, Looks] = {}
    skipped = []
    cache: dict[str, Dataset] = {}
    geometry = pair.geometry
    for need in needs.of_pair(pair):
        name = need.role.partition(": ")[2] or need.role
        try:
            samples = needs.opened(need.spec, cache)[need.split]
        except UserError as error:
            skipped.append(f"{name}: {error}")
            continue
        if geometry is None:
            channels, height, width = samples.read([0]).shape[1:]
            geometry = Geometry((channels, height, width))
        known[name] = looks(samples, geometry, name, progress)
    outside = [n.role.partition(": ")[2] for n in needs.of_pair(pair) if n.role.startswith(("near", "far"))]
    sides = [("train", "test"), ("val", "test"), ("train", "val")]
    sides += [(a, b) for a in ("train", "val", "test", "OOD validation", "outliers") for b in outside]
    found = []
    for a, b in sides:
        if a in known and b in known:
            for i, j, exact, difference in twins(known[a], known[b], bits, limit):
                found.append(Twin(a, known[a].ids[i], b, known[b].ids[j], exact, difference))
    return found, skipped


_COMPARED = 60_000
"""Sets of at most so many images are compared image by image."""


def shared_images(one: Samples, other: Samples, geometry: Geometry) -> int:
    """How many images of `one` are in `other` too, pixel for pixel as the network sees them; large sets are
    compared by name."""
    if one.digest == other.digest:
        return len(one)
    if max(len(one), len(other)) > _COMPARED:
        return len(set(one.ids) & set(other.ids))
    return len(_contents(one, geometry) & _contents(other, geometry))


def _contents(samples: Samples, geometry: Geometry) -> set[bytes]:
    found: set[bytes] = set()
    for images in read_ahead(samples, geometry, in_parts(len(samples), 1024)):
        found |= {(to_float(i) * 255).round().to(torch.uint8).numpy().tobytes() for i in images}
    return found
