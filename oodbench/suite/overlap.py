"""Images that stand where they should not: in training and test, in ID and OOD sets, in two OOD sets. Judged
image by image, whatever their order and their labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.errors import UserError
from oodbench.data.duplicates import in_common

_NEARLY_ALL = 0.9
"""A set with so large a share of another's images is that set."""


def check_parts(label: str, known: Mapping[str, Samples], geometry: Geometry) -> None:
    """Refuse an ID test set that is trained or validated on.

    Args:
        label: of the pair, for messages.
        known: the ID sets there are, by their roles train, val and test.
        geometry: what the network sees.

    Raises:
        UserError: it is, or an image is damaged.
    """
    for name in ("train", "val"):
        if name in known and in_common(known[name], known["test"], geometry).mean() >= _NEARLY_ALL:
            raise UserError(
                f"pair {label!r}: its ID {name} and test sets are the same images; give a set with splits"
            )


def check_ood(
    label: str, known: Mapping[str, Samples], ood: Mapping[str, Samples], geometry: Geometry
) -> None:
    """Refuse OOD sets that consist of ID images or are another OOD set; warn of images that are both ID and
    OOD.

    Args:
        label, known, geometry: as for `check_parts`.
        ood: OOD sets by name. One that cannot be read is left out: the run says so.

    Raises:
        UserError: one is refused.
    """
    shared: list[str] = []
    before: list[str] = []
    for name, samples in ood.items():
        try:
            found = {k: in_common(s, samples, geometry) for k, s in known.items()}
            twin = next((n for n in before if _same(ood[n], samples, geometry)), None)
        except Exception:  # of a user's own samples anything: it costs the set's own rows
            continue
        before.append(name)
        said = _said(name, {k: mask for k, mask in found.items() if mask.any()}, known, samples)
        every = np.logical_or.reduce(list(found.values()))
        if every.mean() >= _NEARLY_ALL:
            raise UserError(f"pair {label!r}: the OOD set {said}; name another data set")
        if twin is not None:
            raise UserError(
                f"pair {label!r}: the OOD sets {twin!r} and {name!r} are the same images; name one"
            )
        shared += [said] if every.any() else []
    if shared:
        warnings.warn(
            f"pair {label!r}: images are both ID and OOD: {'; '.join(shared)}; `oodbench data audit` lists"
            " them",
            stacklevel=3,
        )


def _same(one: Samples, other: Samples, geometry: Geometry) -> bool:
    both = in_common(one, other, geometry), in_common(other, one, geometry)
    return min(mask.mean() for mask in both) >= _NEARLY_ALL


def _said(name: str, found: Mapping[str, np.ndarray], known: Mapping[str, Samples], samples: Samples) -> str:
    """What an OOD set has of the ID sets."""
    for k, mask in found.items():
        if mask.all() and len(samples) == len(known[k]):
            return f"{name!r} is the ID {k} set, image for image"
    every = int(np.logical_or.reduce(list(found.values())).sum()) if found else 0
    counts = ", ".join(f"{mask.sum()} in {k}" for k, mask in found.items())
    return f"{name!r} has {every} ID images among its {len(samples)} ({counts})"
