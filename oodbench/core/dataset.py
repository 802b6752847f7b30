"""Samples, the named splits of a data set, and an ID/OOD pair.

Labels are int64; images are uint8 or float32 in [0, 1], channels first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import Field
from torch import Tensor

from oodbench.core.description import SpecLike

Interpolation = Literal["bilinear", "bicubic", "bicubic-torch"]
Margin = Literal["rounded", "floored"]
_Size = Annotated[int, Field(ge=1, le=65_536, strict=True)]


class Geometry(NamedTuple):
    """How a stored image becomes a network's input.

    Args:
        shape: channels, height, width.
        resize: length of the shorter edge before the centre crop, where the protocol crops, or height and
            width, which every image is squeezed to; ``None``: no crop, straight to the shape.
        interpolation: ``bilinear`` or ``bicubic``, as Pillow computes them to one grey level;
            ``bicubic-torch`` as torch does on uint8 (Hugging Face's processors), now and then two levels off.
        antialias: whether a smaller image averages over all pixels that it came from, as Pillow does it.
        margin: where the centre crop begins, if an odd number of pixels is cut off: half of it ``rounded`` to
            even, as torchvision does it, or ``floored``, as Hugging Face does.

    Example:
        >>> oodbench.Geometry((3, 224, 224), resize=256).shape
        (3, 224, 224)
    """

    shape: tuple[_Size, _Size, _Size]
    resize: _Size | tuple[_Size, _Size] | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    margin: Margin = "rounded"

    @property
    def identity(self) -> list[Any]:
        """What keys are made of: what is newer than the first keys enters where it is not the default."""
        newer = [self.interpolation, self.antialias, *([] if self.margin == "rounded" else [self.margin])]
        return [self.shape, self.resize, *(newer if newer != ["bilinear", True] else [])]


@runtime_checkable
class Samples(Protocol):
    """A labelled set of samples. Small ones are one tensor, large ones are decoded by workers; the interface
    is the same.

    Args:
        kind: of sample: ``image``.
        labels: int64 (N,), known without decoding anything; OOD sets keep their own labels.
        ids: a name for each sample (a file, an index), for reports.
        digest: sha256 of the content, labels included: the set's identity.

    Example:
        >>> test = oodbench.build("dataset", "digits")["test"]
        >>> len(test), test.read([0, 1]).shape
        (445, torch.Size([2, 1, 8, 8]))
    """

    kind: str
    labels: Tensor
    ids: Sequence[str]
    digest: str

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        """The samples at `indices`, in that order.

        Args:
            indices: places 0 to N - 1, (B,).
            geometry: what the images are fitted to; ``None``: as they are stored.

        Returns:
            uint8, or float32 in [0, 1], (B, C, H, W).

        Raises:
            UserError: an image is damaged, or images without a geometry differ in size.
        """
        ...


class Dataset:
    """The named splits of one source; each is read when first asked for.

    The role decides the split that a pair uses: ID ``train``, ``val`` and ``test``; an OOD set its ``test``;
    OOD validation its ``val``; outliers for training its ``train``.

    Args:
        splits: what reads each split, by its name.
        classes: names of the classes, in the order of their labels.

    Example:
        >>> digits = oodbench.build("dataset", {"digits": {"classes": [3, 8]}})
        >>> digits.splits, digits.classes
        (('train', 'val', 'test'), ('3', '8'))
        >>> digits["test"].labels.bincount()
        tensor([45, 43])
    """

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

    Args:
        id: the known data set; ``None`` for a pair that exists as arrays only (method ``outputs``).
        near, far: OOD sets by the names that they have in rows.
        shifted: ID sets under covariate shift, by name.
        ood_val: OOD validation, for tuning.
        outliers: for methods that train with them.
        geometry: what all images are fitted to; ``None``: the size of the known images.
        note: what a user should know of it; ``oodbench list pairs`` shows it.

    Example:
        >>> pair = oodbench.build("pair", {"digits": {"split": 1}})
        >>> pair.id, list(pair.near)
        ({'digits': {'classes': [3, 2, 6, 9, 4, 0]}}, ['unknown-digits'])
    """

    id: SpecLike | None
    near: Mapping[str, SpecLike] = field(default_factory=dict)
    far: Mapping[str, SpecLike] = field(default_factory=dict)
    shifted: Mapping[str, SpecLike] = field(default_factory=dict)
    ood_val: SpecLike | None = None
    outliers: SpecLike | None = None
    geometry: Geometry | None = None
    note: str = ""
