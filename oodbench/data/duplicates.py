"""What images look like, in a few bytes each: to find those that stand in two sets."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.fft import dctn
from torch import Tensor

from oodbench.core.dataset import Dataset, Geometry, Pair, Samples
from oodbench.core.errors import UserError
from oodbench.core.identity import fingerprint
from oodbench.data import needs
from oodbench.data.images import fit, to_float
from oodbench.data.reading import in_parts, read_ahead
from oodbench.data.samples import Subset, are_files, is_brief
from oodbench.data.sizes import common_geometry
from oodbench.data.sources.index import kept
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
        pixels += _hashes(images)
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
    skipped = []
    cache: dict[str, Dataset] = {}
    sets: dict[str, Samples] = {}
    for need in needs.of_pair(pair):
        name = need.role.partition(": ")[2] or need.role
        try:
            sets[name] = needs.opened(need.spec, cache)[need.split]
        except UserError as error:
            skipped.append(f"{name}: {error}")
    known_sets = {name: s for name, s in sets.items() if name in ("train", "val", "test")}
    geometry = pair.geometry or common_geometry(known_sets or sets)
    known = {name: looks(samples, geometry, name, progress) for name, samples in sets.items()}
    outside = [n.role.partition(": ")[2] for n in needs.of_pair(pair) if n.role.startswith(("near", "far"))]
    sides = [("train", "test"), ("val", "test"), ("train", "val")]
    sides += [(a, b) for a in ("train", "val", "test", "OOD validation", "outliers") for b in outside]
    found = []
    for a, b in sides:
        if a in known and b in known:
            for i, j, exact, difference in twins(known[a], known[b], bits, limit):
                found.append(Twin(a, known[a].ids[i], b, known[b].ids[j], exact, difference))
    return found, skipped


DECODED = 20_000
"""Of sets of more image files than that nothing is decoded to compare them: their bytes are."""


def in_common(one: Samples, other: Samples, geometry: Geometry) -> np.ndarray:
    """Which images of `other` are in `one` too, whatever their order and labels, as bool (N of other,).

    Images are the same that are equal in every pixel as the network sees them. Sets of more than `DECODED`
    files are compared by the bytes of their files, and so with other files only: `audit` reads them all.

    Args:
        one, other: the two sets.
        geometry: what the network sees.

    Raises:
        UserError: an image is damaged.
    """
    if one.digest == other.digest:
        return np.ones(len(other), bool)
    files = [are_files(s) for s in (one, other)]
    if any(f and len(s) > DECODED for f, s in zip(files, (one, other), strict=True)):
        return _files_in_common(one, other) if all(files) else np.zeros(len(other), bool)
    return np.isin(pixels_of(other, geometry), pixels_of(one, geometry))


def _files_in_common(one: Any, other: Any) -> np.ndarray:
    """Which files of `other` are in `one` too. Of sets whose files were not read whole (see `Index`), those
    are whose marks agree."""
    if not is_brief(one) and not is_brief(other):
        return np.isin(other.file_hashes(), one.file_hashes())
    a, b = one.file_marks(), other.file_marks()
    there = np.flatnonzero(np.isin(b, a))
    known = one.file_hashes(np.flatnonzero(np.isin(a, b[there])))
    found = np.zeros(len(other), bool)
    found[there] = np.isin(other.file_hashes(there), known)
    return found


def shared_images(one: Samples, other: Samples, geometry: Geometry) -> int:
    """How many images of `one` are in `other` too, as `in_common` finds them."""
    return int(in_common(other, one, geometry).sum())


def pixels_of(samples: Samples, geometry: Geometry) -> np.ndarray:
    """A hash of the pixels of every image as the network sees it, (N,) of 16 bytes. What had to be decoded
    for it is kept in the cache folder."""
    key = fingerprint(["pixels", 1, samples.digest, *geometry.identity])
    if are_files(samples):
        return kept(f"pixels-{key}", lambda: _pixels(samples, geometry))
    if isinstance(samples, Subset):  # one reading for all parts of what is in memory
        return pixels_of(samples.of, geometry)[samples.indices.numpy()]
    if key not in _in_memory:
        _in_memory[key] = _pixels(samples, geometry)
        while len(_in_memory) > _HELD:
            _in_memory.popitem(last=False)
    return _in_memory[key]


_in_memory: OrderedDict[str, np.ndarray] = OrderedDict()
"""What was found last: the ID sets of a pair meet every OOD set."""
_HELD = 64


def _pixels(samples: Samples, geometry: Geometry) -> np.ndarray:
    parts = read_ahead(samples, geometry, in_parts(len(samples), 1024))
    return np.array([h for images in parts for h in _hashes(images)], dtype="S16")


def _hashes(images: Tensor) -> list[bytes]:
    """16 bytes for the pixels of each image, floats rounded to the 256 levels of files."""
    levels = images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)
    return [hashlib.sha256(x).digest()[:16] for x in levels.contiguous().numpy()]
