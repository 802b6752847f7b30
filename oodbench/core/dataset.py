"""Samples, the named splits of a data set, and an ID/OOD pair.

Labels are int64; images are uint8 or float32 in [0, 1], channels first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from oodbench.core.spec import SpecLike


class Geometry(NamedTuple):
    """How a stored image becomes a network's input: the shape (channels, height, width) and, where the
    protocol crops, the length of the shorter edge before the centre crop (``None``: resize straight to the
    shape)."""

    shape: tuple[int, int, int]
    resize: int | None = None


@runtime_checkable
class Samples(Protocol):
    """A labelled set of samples. Small ones are one tensor, large ones are decoded by workers; the interface
    is the same.

    `labels` is int64 (N,) and known without decoding anything; OOD sets keep their own labels. `ids` names
    each sample (a file, an index) for reports. `digest` is a sha256 of the content, labels included: it is
    the set's identity."""

    kind: str
    labels: Tensor
    ids: Sequence[str]
    digest: str

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        """The samples at `indices` as one tensor, uint8 or float32 in [0, 1]: (B, C, H, W), fitted to
        `geometry` if given."""
        ...


class Dataset:
    """The named splits of one source (``train``, ``val``, ``test``, or what a protocol adds); each is read
    when first asked for.

    The role decides the split that a pair uses: ID train / val / test, an OOD set its ``test``, OOD
    validation its ``val``, outliers for training its ``train``."""

    def __init__(self, splits: Mapping[str, Callable[[], Samples]], classes: Sequence[str] = ()) -> None:
        self._splits = dict(splits)
        self._read: dict[str, Samples] = {}
        self.classes = tuple(classes)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def __contains__(self, split: str) -> bool:
        return split in self._splits

    def __getitem__(self, split: str) -> Samples:
        if split not in self._read:
            self._read[split] = self._splits[split]()
        return self._read[split]


@dataclass(frozen=True)
class Pair:
    """An ID/OOD pair, in names: which data set is known, and which are near-, far- and covariate-shifted to
    *it*.

    Everything is a data-set spec, so that a pair can be listed, checked and hashed without reading an image.
    `id` is None for a pair that exists as arrays only (method ``outputs``)."""

    id: SpecLike | None
    near: Mapping[str, SpecLike] = field(default_factory=dict)
    far: Mapping[str, SpecLike] = field(default_factory=dict)
    shifted: Mapping[str, SpecLike] = field(default_factory=dict)
    ood_val: SpecLike | None = None
    outliers: SpecLike | None = None
    geometry: Geometry | None = None
    note: str = ""
