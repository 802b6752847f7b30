"""The sets of one pair as a run uses them: found, named by role, identified by content, and what a network
must fit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch

from oodbench.core import registry
from oodbench.core.dataset import Dataset, Geometry, Samples
from oodbench.core.errors import MissingData, NotApplicable, UserError
from oodbench.core.network import Task
from oodbench.data.altered import noise_from
from oodbench.data.duplicates import shared_images
from oodbench.data.images import statistics, to_float
from oodbench.data.needs import opened
from oodbench.suite.pairs import PairEntry

OOD_SHIFTS = ("near", "far")
_COMPARED = 20_000
"""Outliers and an OOD set of at most so many images together are compared image for image before a
training."""
_STATISTICS_FROM = 10_000
"""At most so many training images, evenly spaced, give the ID mean and standard deviation."""


class SetPlan(NamedTuple):
    """One set of a pair: its name, its role (train, val, test, near, far, shifted or tune) and the digest of
    its content."""

    name: str
    role: str
    digest: str
    samples: Samples | None


class PairSets:
    """The samples of one pair entry, read from disk but not yet decoded. `missing` holds OOD sets that are
    not there, with the reason."""

    def __init__(self, entry: PairEntry, cache: dict[str, Dataset], skip_missing: bool) -> None:
        self.entry = entry
        self.missing: dict[str, tuple[str, str]] = {}
        self.sets: dict[str, SetPlan] = {}
        if entry.pair.id is None:
            raise UserError(
                f"pair {entry.label!r} has no images of its own; only the method 'outputs' can run on it"
            )
        self._sources = cache
        absent, names = self._read_known()
        self._read_others()
        if absent or (self.missing and not skip_missing):  # all at once, each with where to get it
            raise MissingData("\n".join(dict.fromkeys([*absent, *(why for _, why in self.missing.values())])))
        if "test" not in self.sets:
            raise UserError(f"pair {entry.label!r}: the ID set has no test images")
        self.classes = len(names) or int(self._known.labels.max()) + 1
        self._check_labels()
        self._check_twins()

    def _read_known(self) -> tuple[list[str], Sequence[str]]:
        """Add the splits of the ID set. Returns what is not there, and the names of the classes."""
        absent: list[str] = []
        try:
            known = _dataset(self.entry.pair.id, self._sources)
        except MissingData as error:
            return [str(error)], ()
        for name in ("train", "val", "test"):
            if name in known:
                try:
                    self._add(name, name, known[name])
                except MissingData as error:
                    absent.append(str(error))
        return absent, known.classes

    def _read_others(self) -> None:
        """Add the OOD and the covariate-shifted sets; `missing` tells of those that are not there."""
        for role in (*OOD_SHIFTS, "shifted"):
            for name, raw in getattr(self.entry.pair, role).items():
                try:
                    self._add(name, role, _part(raw, "test", self._sources))
                except MissingData as error:
                    self.missing[name] = (role, str(error))

    def _check_twins(self) -> None:
        """The ID test set is neither a set that is trained on nor an OOD set."""
        test = self.sets["test"].digest
        for other in self.sets.values():
            if other.digest == test and other.role in ("train", "val"):
                raise UserError(
                    f"pair {self.entry.label!r}: its ID {other.name} and test sets are the same images; give"
                    " a set with splits"
                )
            if other.digest == test and other.role in OOD_SHIFTS:
                raise UserError(
                    f"pair {self.entry.label!r}: the OOD set {other.name!r} is the ID test set, image for"
                    " image; name another data set"
                )

    @cached_property
    def outliers(self) -> Samples | None:
        """Outliers for training, read only where a method asks for them; None where the pair names none.

        Refused where they are an OOD test set, or (of small sets) share an image with one: it would be
        trained on what it is to detect."""
        raw = self.entry.pair.outliers
        if raw is None:
            return None
        outliers = _part(raw, "train", self._sources)
        for other in self.sets.values():
            if other.role not in OOD_SHIFTS or other.samples is None:
                continue
            same = outliers.digest == other.digest
            if same or (
                len(outliers) + len(other.samples) <= _COMPARED
                and shared_images(outliers, other.samples, self.geometry)
            ):
                raise UserError(
                    f"pair {self.entry.label!r}: outliers: hold images of the OOD test set {other.name!r};"
                    " name another data set"
                )
        return outliers

    def _check_labels(self) -> None:
        """Every ID label is that of a class, and every class has an image to learn from."""
        for plan in self.sets.values():
            if plan.role in OOD_SHIFTS or plan.samples is None:
                continue
            labels = plan.samples.labels
            wrong = torch.nonzero((labels < 0) | (labels >= self.classes)).flatten()
            if len(wrong):
                i = int(wrong[0])
                raise UserError(
                    f"pair {self.entry.label!r}: the ID set {plan.name!r} has the label {int(labels[i])} for"
                    f" {plan.samples.ids[i]!r}; labels should be from 0 to {self.classes - 1}, the classes of"
                    " train"
                )
        train = self.sets.get("train")
        if train is not None and train.samples is not None:
            empty = (
                torch.nonzero(train.samples.labels.bincount(minlength=self.classes) == 0).flatten().tolist()
            )
            if empty:
                raise UserError(
                    f"pair {self.entry.label!r}: class {empty[0]} of {self.classes} has no training image"
                )

    def _add(self, name: str, role: str, samples: Samples) -> None:
        if len(samples) == 0:
            raise UserError(f"pair {self.entry.label!r}: the set {name!r} is empty")
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
            for other in self.sets.values():
                if other.role in ("test", "shifted", *OOD_SHIFTS) and other.samples is not None:
                    shared = shared_images(samples, other.samples, self.geometry)
                    if shared:
                        raise UserError(
                            f"pair {self.entry.label!r}: tune: {regime} would tune on {shared} images of the"
                            f" test set {other.name!r}"
                        )
            self._add(name, "tune", samples)
        return name

    @cached_property
    def geometry(self) -> Geometry:
        if self.entry.pair.geometry is not None:
            return self.entry.pair.geometry
        channels, height, width = self._known.read([0]).shape[1:]
        return Geometry((channels, height, width))

    @property
    def _known(self) -> Samples:
        samples = self.sets["train" if "train" in self.sets else "test"].samples
        assert samples is not None
        return samples

    def blank_task(self) -> Task:
        """The task without its statistics, for checks that look only at shapes."""
        channels = self.geometry.shape[0]
        return Task(self._known.kind, self.geometry.shape, self.classes, (0.0,) * channels, (1.0,) * channels)

    @cached_property
    def task(self) -> Task:
        """The task with the mean and standard deviation of the ID training images (0 and 1 where the pair has
        no training set)."""
        train = self.sets.get("train")
        if train is None or train.samples is None:
            return self.blank_task()
        step = max(1, len(train.samples) // _STATISTICS_FROM)
        mean, std = statistics(
            to_float(train.samples.read(range(0, len(train.samples), step), self.geometry))
        )
        return self.blank_task()._replace(mean=mean, std=std)


def _dataset(raw: Any, cache: dict[str, Dataset]) -> Dataset:
    return opened(registry.resolve("dataset", raw), cache)


def _part(raw: Any, split: str, cache: dict[str, Dataset]) -> Samples:
    """One split of a data set; UserError where it has none of that name."""
    found = _dataset(raw, cache)
    if split not in found:
        label = registry.resolve("dataset", raw).label
        raise UserError(f"data set {label!r} has no {split} images; it has {', '.join(found.splits)}")
    return found[split]
