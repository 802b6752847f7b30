"""The sets of one pair as a run uses them: found, named by role, identified by content, and what a network
must fit."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch

from oodbench.core import registry
from oodbench.core.dataset import Dataset, Geometry, Pair, Samples
from oodbench.core.errors import MissingData, NotApplicable, UserError
from oodbench.core.identity import fingerprint
from oodbench.core.network import Input, Task
from oodbench.data.altered import noise_from
from oodbench.data.duplicates import shared_images
from oodbench.data.images import statistics
from oodbench.data.needs import opened
from oodbench.data.reading import read_ahead
from oodbench.data.samples import part_per_class
from oodbench.data.sizes import common_geometry
from oodbench.suite import overlap
from oodbench.suite.pairs import PairEntry

OOD_SHIFTS = ("near", "far")
KNOWN = ("train", "val", "test")
_STATISTICS_FROM = 10_000
"""At most so many training images, evenly spaced, give the ID mean and standard deviation,"""
_AT_ONCE = 256
"""so many of them in memory at a time."""


class SetPlan(NamedTuple):
    """One set of a pair: its name, its role (train, val, test, near, far, shifted or tune) and the digest of
    its content."""

    name: str
    role: str
    digest: str
    samples: Samples | None


def part_of(train: SetPlan, amount: float | int) -> SetPlan:
    """The part of a training set that scorers fit on, see `part_per_class`; the set itself where that is all
    of it. Of a user's arrays, which are cut later, only the digest is another."""
    samples = train.samples and part_per_class(train.samples, amount)
    if samples and train.samples and len(samples) == len(train.samples):
        return train
    digest = samples.digest if samples else fingerprint(["part", train.digest, amount])
    return train._replace(samples=samples, digest=digest)


class PairSets:
    """The samples of one pair entry, read from disk but not yet decoded. `missing` holds OOD sets that are
    not there, with the reason. `fallback` is the geometry of a pair that names none and whose images differ
    in size."""

    def __init__(
        self,
        entry: PairEntry,
        cache: dict[str, Dataset],
        skip_missing: bool,
        fallback: Geometry | None = None,
    ) -> None:
        self.entry, self._fallback = entry, fallback
        self._statistics: dict[Geometry, tuple[tuple[float, ...], tuple[float, ...]]] = {}
        self._parts: dict[str, SetPlan] = {}
        self.missing: dict[str, tuple[str, str]] = {}
        self._absent: list[MissingData] = []
        self.sets: dict[str, SetPlan] = {}
        if entry.pair.id is None:
            raise UserError(
                f"pair {entry.label!r} has no images of its own; only the method 'outputs' can run on it"
            )
        self._sources = cache
        absent, names = self._read_known()
        self._read_others()
        if absent or (self.missing and not skip_missing):  # all at once, each with where to get it
            raise MissingData.joined([*absent, *self._absent])
        if "test" not in self.sets:
            raise UserError(f"pair {entry.label!r}: the ID set has no test images")
        self.names = names
        self.classes = len(names) or int(self._known.labels.max()) + 1
        self._check_labels()
        overlap.check_parts(entry.label, self._of_roles(*KNOWN), self.geometry)
        self._check_ood(self._of_roles(*OOD_SHIFTS))

    def _read_known(self) -> tuple[list[MissingData], Sequence[str]]:
        """Add the splits of the ID set. Returns what is not there, and the names of the classes."""
        absent: list[MissingData] = []
        try:
            known = _dataset(self.entry.pair.id, self._sources)
        except MissingData as error:
            return [error], ()
        for name in KNOWN:
            if name in known:
                try:
                    self._add(name, name, known[name])
                except MissingData as error:
                    absent.append(error)
        return absent, known.classes

    def _read_others(self) -> None:
        """Add the OOD and the covariate-shifted sets; `missing` tells of those that are not there."""
        for role in (*OOD_SHIFTS, "shifted"):
            for name, raw in getattr(self.entry.pair, role).items():
                try:
                    self._add(name, role, _part(raw, "test", self._sources))
                except MissingData as error:
                    self.missing[name] = (role, str(error))
                    self._absent.append(error)

    def fitted_on(self, amount: float | int) -> SetPlan:
        """The training images that scorers fit on, see `part_of`; for all runs of the pair one."""
        which = repr(amount)  # 1 image is not 1.0, all of them
        if which not in self._parts:
            self._parts[which] = part_of(self.sets["train"], amount)
        return self._parts[which]

    @cached_property
    def outliers(self) -> Samples | None:
        """Outliers for training, read only where a method asks for them; None where the pair names none.

        Refused where they share an image with an OOD test set: it would be trained on what it is to
        detect."""
        raw = self.entry.pair.outliers
        if raw is None:
            return None
        outliers = _part(raw, "train", self._sources)
        for name, other in self._of_roles(*OOD_SHIFTS).items():
            shared = shared_images(outliers, other, self.geometry)
            if shared:
                raise UserError(
                    f"pair {self.entry.label!r}: outliers: hold images of the OOD test set {name!r} ({shared}"
                    " of them); name another data set"
                )
        self._check_ood({"outliers": outliers})
        return outliers

    def _check_ood(self, ood: Mapping[str, Samples]) -> None:
        overlap.check_ood(self.entry.label, self._of_roles(*KNOWN), ood, self.geometry)

    def _of_roles(self, *roles: str) -> dict[str, Samples]:
        """The samples of all sets of some roles, by name."""
        return {s.name: s.samples for s in self.sets.values() if s.role in roles and s.samples is not None}

    def _check_labels(self) -> None:
        """Every ID label is that of a class, there are two classes, and each has an image to learn from."""
        known = self._of_roles(*KNOWN, "shifted", "tune")
        if self.classes < 2:
            first = next(iter(known.values())).ids[0]
            raise UserError(
                f"pair {self.entry.label!r}: its ID set has one class{self._name_of(0)}, that of {first!r};"
                " it needs two: of a folder the sub-folders right below its root, of a CSV file the column"
                " `label`, of arrays the array `labels`"
            )
        for name, samples in known.items():
            labels = samples.labels
            wrong = torch.nonzero((labels < 0) | (labels >= self.classes)).flatten()
            if len(wrong):
                i = int(wrong[0])
                raise UserError(
                    f"pair {self.entry.label!r}: the ID set {name!r} has the label {int(labels[i])} for"
                    f" {samples.ids[i]!r}; labels should be from 0 to {self.classes - 1}, the classes of"
                    " train"
                )
        train = known.get("train")
        if train is not None:
            present = train.labels.unique().tolist()  # not bincount: a label may be anything
            empty = next((i for i, c in enumerate(present) if c != i), len(present))
            if empty < self.classes:
                raise UserError(
                    f"pair {self.entry.label!r}: class {empty} of {self.classes} has no training image"
                    f"{self._name_of(empty)}"
                )

    def _name_of(self, c: int) -> str:
        """The name of a class, in brackets, where it has one."""
        return f" ({self.names[c]!r})" if self.names and self.names[c] != str(c) else ""

    def _add(self, name: str, role: str, samples: Samples) -> None:
        if len(samples) == 0:
            raise UserError(f"pair {self.entry.label!r}: the set {name!r} is empty")
        if name in self.sets:
            raise UserError(f"pair {self.entry.label!r}: there are two sets {name!r}; name one otherwise")
        self.sets[name] = SetPlan(name, role, samples.digest, samples)

    def tuning_set(self, regime: str) -> str:
        """The name of the set that a regime tunes on, added with the role ``tune``; refused where it shares
        an image with a test set."""
        name = f"tune:{regime}"
        if name not in self.sets:
            if regime == "noise":
                val = self.sets["val"].samples
                assert val is not None
                samples = noise_from(val)
            elif self.entry.pair.ood_val is None:
                raise NotApplicable(
                    f"pair {self.entry.label!r} names no OOD validation set (ood_val), which tune: ood-val"
                    " needs"
                )
            else:
                samples = _part(self.entry.pair.ood_val, "val", self._sources)
                self._check_ood({"ood_val": samples})
            for other, tested in self._of_roles("test", "shifted", *OOD_SHIFTS).items():
                shared = shared_images(samples, tested, self.geometry)
                if shared:
                    raise UserError(
                        f"pair {self.entry.label!r}: tune: {regime} would tune on {shared} images of the"
                        f" test set {other!r}"
                    )
            self._add(name, "tune", samples)
        return name

    @cached_property
    def geometry(self) -> Geometry:
        if self.entry.pair.geometry is not None:
            return self.entry.pair.geometry
        try:
            return common_geometry(self._of_roles(*KNOWN))
        except UserError as error:
            if self._fallback is not None:
                return self._fallback
            raise UserError(f"pair {self.entry.label!r}: {error}") from None

    @property
    def _known(self) -> Samples:
        samples = self.sets["train" if "train" in self.sets else "test"].samples
        assert samples is not None
        return samples

    def blank_task(self, geometry: Geometry | None = None) -> Task:
        """The task in a geometry (the pair's) without its statistics, for checks that look only at shapes."""
        return blank_task(self._known.kind, geometry or self.geometry, self.classes, self.names)

    def task(self, fed: Input) -> Task:
        """The task of a network that is fed `fed`: with its mean and standard deviation, or where it names
        none those of the ID training images (0 and 1 where the pair has no training set)."""
        geometry = fed.geometry(self.geometry)
        blank = self.blank_task(geometry)
        if fed.mean is not None and fed.std is not None:
            return blank._replace(mean=fed.mean, std=fed.std)
        train = self.sets.get("train")
        if train is None or train.samples is None:
            return blank
        if geometry not in self._statistics:
            step = max(1, len(train.samples) // _STATISTICS_FROM)
            places = range(0, len(train.samples), step)
            parts = (places[i : i + _AT_ONCE] for i in range(0, len(places), _AT_ONCE))
            self._statistics[geometry] = statistics(read_ahead(train.samples, geometry, parts))
        mean, std = self._statistics[geometry]
        return blank._replace(mean=mean, std=std)


def class_names(pair: Pair, cache: dict[str, Dataset]) -> Sequence[str]:
    """The names of a pair's classes, as far as its data set has them before an image is read."""
    if pair.id is not None:
        with contextlib.suppress(Exception):  # told when its images are looked for, with all that lack
            return _dataset(pair.id, cache).classes
    return ()


def blank_task(kind: str, geometry: Geometry, classes: int, names: Sequence[str]) -> Task:
    """A task without its statistics."""
    channels = geometry.shape[0]
    return Task(kind, geometry.shape, classes, (0.0,) * channels, (1.0,) * channels, tuple(names))


def _dataset(raw: Any, cache: dict[str, Dataset]) -> Dataset:
    return opened(registry.resolve("dataset", raw), cache)


def _part(raw: Any, split: str, cache: dict[str, Dataset]) -> Samples:
    """One split of a data set; UserError where it has none of that name."""
    found = _dataset(raw, cache)
    if split not in found:
        label = registry.resolve("dataset", raw).label
        raise UserError(f"data set {label!r} has no {split} images; it has {', '.join(found.splits)}")
    return found[split]
