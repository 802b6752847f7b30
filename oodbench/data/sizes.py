"""How large the stored images of sets are, by what is known without decoding them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.errors import UserError
from oodbench.data.reading import in_parts


def sizes_of(samples: Samples) -> np.ndarray:
    """Channels, height and width of every image, int64 (N, 3).

    Args:
        samples: asked by its method `image_sizes` where it has one: image files look at their headers alone.
            Of others every image is read.

    Raises:
        UserError: an image is damaged.
    """
    ask = getattr(samples, "image_sizes", None)
    if ask is not None:
        return ask()
    found: list[tuple[int, ...]] = []
    for places in in_parts(len(samples), 256):
        try:
            found += [tuple(samples.read(places).shape[1:])] * len(places)
        except UserError:  # of several sizes, or one is damaged
            found += [tuple(samples.read([i]).shape[1:]) for i in places]
    return np.array(found, np.int64).reshape(-1, 3)


def common_geometry(sets: Mapping[str, Samples]) -> Geometry:
    """The one size that the images of some sets have.

    Args:
        sets: by name; none is empty.

    Raises:
        UserError: they have several. The message says how many images have each.
    """
    found: dict[tuple[int, ...], tuple[int, str]] = {}
    for name, samples in sets.items():
        sizes, first, counts = np.unique(sizes_of(samples), axis=0, return_index=True, return_counts=True)
        for size, i, n in zip(sizes.tolist(), first.tolist(), counts.tolist(), strict=True):
            before, example = found.get(tuple(size), (0, f"{samples.ids[i]} of {name}"))
            found[tuple(size)] = before + n, example
    if len(found) > 1:
        often = sorted(found.items(), key=lambda x: (-x[1][0], x[0]))
        told = ", ".join(f"{n} of {'x'.join(map(str, size))} (such as {e})" for size, (n, e) in often[:3])
        more = f", and {len(often) - 3} sizes more" if len(often) > 3 else ""
        raise UserError(
            f"the ID images differ in size: {told}{more}; give the pair a"
            " `geometry: {shape: [channels, height, width]}`"
        )
    channels, height, width = next(iter(sets.values())).read([0]).shape[1:]
    return Geometry((channels, height, width))
