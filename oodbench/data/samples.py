"""The Samples that data sets are made of, and the one place where an image becomes a network's input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.identity import fingerprint, tensor_digest
from oodbench.data.images import fit
from oodbench.data.sizes import sizes_of


class TensorSamples:
    """A set small enough to be one tensor: images (N, C, H, W), uint8 or float32 in [0, 1], and labels
    (N,)."""

    kind = "image"

    def __init__(
        self, images: Tensor, labels: Tensor, ids: Sequence[str] | None = None, digest: str | None = None
    ) -> None:
        self.images = images
        self.labels = labels.to(torch.int64)
        self.ids: Sequence[str] = [str(i) for i in range(len(images))] if ids is None else ids
        self.digest = tensor_digest(self.images, self.labels) if digest is None else digest

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        images = self.images[torch.as_tensor(indices, dtype=torch.int64)]
        return images if geometry is None else fit(images, geometry)

    def image_sizes(self) -> np.ndarray:
        return np.broadcast_to(np.array(self.images.shape[1:], np.int64), (len(self), 3))


class Subset:
    """Some samples of a set, in the order of `indices`, with labels of their own where `labels` is given.
    Nothing is copied."""

    def __init__(self, of: Samples, indices: Tensor, labels: Tensor | None = None) -> None:
        self.of = of
        self.kind = of.kind
        self.indices = indices.to(torch.int64)
        self.labels = (of.labels[self.indices] if labels is None else labels).to(torch.int64)
        self.ids: Sequence[str] = _Picked(of.ids, self.indices)
        self.digest = fingerprint({"of": of.digest, "subset": tensor_digest(self.indices, self.labels)})

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        return self.of.read(self.indices[torch.as_tensor(indices, dtype=torch.int64)], geometry)

    def image_sizes(self) -> np.ndarray:
        return sizes_of(self.of)[self.indices.numpy()]

    @property
    def are_files(self) -> bool:
        return are_files(self.of)

    @property
    def brief(self) -> bool:
        return is_brief(self.of)

    def file_marks(self) -> np.ndarray:
        return self.of.file_marks()[self.indices.numpy()]  # type: ignore[attr-defined,no-any-return]

    def file_hashes(self, places: np.ndarray | None = None) -> np.ndarray:
        mine = self.indices.numpy() if places is None else self.indices.numpy()[places]
        return self.of.file_hashes(mine)  # type: ignore[attr-defined,no-any-return]


class Joined:
    """Several sets, one after the other."""

    def __init__(self, parts: Sequence[Samples]) -> None:
        self.parts = list(parts)
        self.kind = self.parts[0].kind
        self.labels = torch.cat([p.labels for p in self.parts])
        self.ids: Sequence[str] = [name for p in self.parts for name in p.ids]
        self.digest = fingerprint({"joined": [p.digest for p in self.parts]})
        self._starts = torch.tensor([0, *(len(p) for p in self.parts)]).cumsum(0)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        index = torch.as_tensor(indices, dtype=torch.int64)
        part = torch.bucketize(index, self._starts[1:], right=True)
        pieces, places = [], []
        for number in part.unique().tolist():
            at = torch.nonzero(part == number).flatten()
            pieces.append(self.parts[number].read(index[at] - self._starts[number], geometry))
            places.append(at)
        return torch.cat(pieces)[torch.cat(places).argsort()]

    def image_sizes(self) -> np.ndarray:
        return np.concatenate([sizes_of(p) for p in self.parts])

    @property
    def are_files(self) -> bool:
        return all(map(are_files, self.parts))

    @property
    def brief(self) -> bool:
        return any(map(is_brief, self.parts))

    def file_marks(self) -> np.ndarray:
        return np.concatenate([p.file_marks() for p in self.parts])  # type: ignore[attr-defined]

    def file_hashes(self, places: np.ndarray | None = None) -> np.ndarray:
        wanted = np.arange(len(self)) if places is None else places
        starts, found = self._starts.numpy(), np.zeros(len(wanted), "S16")
        for number, part in enumerate(self.parts):
            mine = (wanted >= starts[number]) & (wanted < starts[number + 1])
            found[mine] = part.file_hashes(wanted[mine] - starts[number])  # type: ignore[attr-defined]
        return found


def are_files(samples: Samples) -> bool:
    """Whether the images are files, or stored as in files: it has `file_hashes`, 16 bytes of the sha256 of
    each (or of those at some places), and `file_marks`, by which files of any two sets that are equal are
    equal, and which take no reading of every byte."""
    return bool(getattr(samples, "are_files", False))


def is_brief(samples: Samples) -> bool:
    """Whether `file_hashes` of a set would read every byte of its files."""
    return bool(getattr(samples, "brief", False))


class _Picked(Sequence[str]):
    """Names at some places of a longer list, looked up when asked for."""

    def __init__(self, names: Sequence[str], indices: Tensor) -> None:
        self._names, self._indices = names, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        if isinstance(i, slice):
            return [self._names[j] for j in self._indices[i].tolist()]
        return self._names[int(self._indices[i])]


def of_classes(samples: Samples, classes: Sequence[int], relabel: bool = True) -> Subset:
    """The samples of `classes` in their order, relabelled 0..K-1 in the order given (or with the labels they
    have)."""
    lookup = torch.full((max(int(samples.labels.max()), *classes) + 2,), -1)
    lookup[torch.tensor(list(classes))] = torch.arange(len(classes))
    labels = lookup[
        samples.labels
    ]  # -1, a label that OOD lists use, looks up the last entry, which nobody sets
    keep = torch.nonzero(labels >= 0).flatten()
    return Subset(samples, keep, labels[keep] if relabel else None)


def by_class(labels: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(label, places that have it, ascending), labels ascending: one sort, since a search per class costs
    ImageNet half a minute."""
    order = labels.argsort(stable=True)
    values, counts = labels[order].unique_consecutive(return_counts=True)
    yield from zip(values.tolist(), order.split(counts.tolist()), strict=True)


def carve(samples: Samples, share: float = 0.1) -> tuple[Subset, Subset]:
    """(rest, carved): `share` of each class, at least one sample, drawn once and for all (a constant seed);
    both keep their order."""
    rng = torch.Generator().manual_seed(20_260_000)
    carved = torch.zeros(len(samples), dtype=torch.bool)
    for _, mine in by_class(samples.labels):
        carved[mine[torch.randperm(len(mine), generator=rng)[: max(1, round(share * len(mine)))]]] = True
    return Subset(samples, torch.nonzero(~carved).flatten()), Subset(samples, torch.nonzero(carved).flatten())


def places_per_class(labels: Tensor, amount: float | int) -> Tensor:
    """Places of a part of every class, ascending: a share of it (a float), or so many (an integer; all of a
    class that has fewer); at least one of each. Drawn once and for all (a constant seed)."""
    rng = torch.Generator().manual_seed(20_260_001)
    kept = []
    for _, mine in by_class(labels):
        count = amount if isinstance(amount, int) else max(1, round(amount * len(mine)))
        kept.append(mine[torch.randperm(len(mine), generator=rng)[:count]])
    return torch.cat(kept).sort().values


def part_per_class(samples: Samples, amount: float | int) -> Subset:
    """A part of every class of a set, as `places_per_class` draws it."""
    return Subset(samples, places_per_class(samples.labels, amount))


def select(samples: TensorSamples, classes: Sequence[int]) -> TensorSamples:
    """The samples of `classes`, relabelled 0..K-1 in the order given."""
    order = {c: i for i, c in enumerate(classes)}
    keep = [i for i, label in enumerate(samples.labels.tolist()) if label in order]
    labels = torch.tensor([order[int(samples.labels[i])] for i in keep], dtype=torch.int64)
    return TensorSamples(
        samples.images[keep], labels, [samples.ids[i] for i in keep],
        fingerprint({"of": samples.digest, "classes": list(map(int, classes))}),
    )  # fmt: skip
