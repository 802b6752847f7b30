"""Whether data are here, how they get here, whether they are what they were, and whether sets share images: ``oodbench data``."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from oodbench.core import registry
from oodbench.core.errors import MissingData, UserError
from oodbench.core.registry import Spec
from oodbench.core.scorer import Dataset, Pair, Samples, SpecLike, fingerprint
from oodbench.data.sources.download import downloads
from oodbench.data.sources.files import FileSamples
from oodbench.data.sources.index import Present, trust
from oodbench.data.sources.roots import cache_folder, offline, places, roots

LOCK = "oodbench.lock.json"
Progress = Callable[[str, int, int], None]
"""Called with a set's name, images done and images in all."""


# ---------------------------------------------------------------- what is needed


class Need(NamedTuple):
    """One split of one data set, and what it is needed for: ``train``, ``near: cifar100``, ``outliers`` (not every run needs those)."""

    role: str
    spec: Spec
    split: str


def needs(pair: Pair) -> list[Need]:
    """Every set of a pair with the split that its role reads."""
    if pair.id is None:
        return []
    known = registry.resolve("dataset", pair.id)
    found = [Need(s, known, s) for s in ("train", "val", "test") if s in registry.build("dataset", known)]
    for shift in ("near", "far", "shifted"):
        found += [
            Need(f"{shift}: {n}", registry.resolve("dataset", raw), "test") for n, raw in getattr(pair, shift).items()
        ]
    for role, raw, split in (("OOD validation", pair.ood_val, "val"), ("outliers", pair.outliers, "train")):
        if raw is not None:
            found.append(Need(role, registry.resolve("dataset", raw), split))
    return found


def needs_of_set(spec: SpecLike) -> list[Need]:
    """Every split of one data set."""
    resolved = registry.resolve("dataset", spec)
    return [Need(s, resolved, s) for s in registry.build("dataset", resolved).splits]


def leaves(spec: Spec) -> list[Spec]:
    """The data sets that a data set is made from, itself if it is made from none."""
    inner = [s for value in spec.params.values() for s in _specs(value)]
    return [leaf for s in inner for leaf in leaves(s)] or [spec]


def of_leaves(wanted: Sequence[Need]) -> list[Need]:
    """The same needs of the sets that lie on disk, each set, split and role once."""
    found = [Need(n.role, leaf, n.split) for n in wanted for leaf in leaves(n.spec)]
    return list({(fingerprint(registry.plain_value(n.spec.plain)), n.split, n.role): n for n in found}.values())


def _specs(value: Any) -> list[Spec]:
    if isinstance(value, Spec):
        return [value] if value.kind == "dataset" else []
    if isinstance(value, Mapping):
        return [s for v in value.values() for s in _specs(v)]
    return [s for v in value for s in _specs(v)] if isinstance(value, (list, tuple)) else []


# ---------------------------------------------------------------- status


class Status(NamedTuple):
    """What there is of one need: ``here``, ``missing`` or ``broken``; how many `images` (-1: not counted); where, or what to do."""

    need: Need
    state: str
    images: int
    where: str


def status(wanted: Sequence[Need]) -> list[Status]:
    """Whether the sets on disk that the needs come down to are here, without reading the files of large ones."""
    cache: dict[str, Dataset] = {}
    return [_status(need, cache) for need in of_leaves(wanted)]


def status_lines(found: Sequence[Status]) -> list[str]:
    """A line per set and state, with its splits; what is missing has a second one, which says where it was looked for and what gets it."""
    groups: dict[tuple[str, str], list[Status]] = {}
    for s in found:
        groups.setdefault((s.need.spec.label, s.state), []).append(s)
    lines = []
    for (label, state), members in groups.items():
        splits = {s.need.split: s.images for s in members}
        counted = ", ".join(f"{split} {n:,}" if n >= 0 else split for split, n in splits.items())
        where = dict.fromkeys(s.where for s in members if s.where)
        lines.append(
            f"{state:<8} {label}: {counted}" + (f"  in {', '.join(where)}" if where and state == "here" else "")
        )
        lines += [f"         {w}" for w in where if state != "here"]
    return lines


def _status(need: Need, cache: dict[str, Dataset]) -> Status:
    seen: list[Path] = []
    with _set(trust, "presence"), _set(places, seen):
        try:
            count = len(_dataset(need.spec, cache)[need.split])
        except Present:
            count = -1
        except MissingData as error:
            return Status(need, "missing", -1, str(error))
        except UserError as error:
            return Status(need, "broken", -1, str(error))
        return Status(need, "here", count, ", ".join(dict.fromkeys(map(str, seen))))


def _dataset(spec: Spec, cache: dict[str, Dataset]) -> Dataset:
    key = fingerprint(registry.plain_value(spec.plain))
    if key not in cache:
        cache[key] = registry.build("dataset", spec)
    return cache[key]


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


# ---------------------------------------------------------------- download


def download(wanted: Sequence[Need], say: Callable[[str], None]) -> list[str]:
    """Download what is missing and can be; returns a line for everything that is still missing.

    Each set goes into a folder of its own in the first data root and appears there only when it is whole; an interrupted download is
    gone on with by the next one.
    """
    left = []
    missing = {s.need.spec.name: s for s in status(wanted) if s.state != "here"}
    for s in missing.values():
        leaf = s.need.spec
        if leaf.name not in downloads or s.state == "broken":
            left.append(s.where)
            continue
        if offline():
            left.append(f"{leaf.name}: offline, so nothing was asked for; run again without --offline")
            continue
        target = roots()[0] / leaf.name
        say(f"{leaf.name}: downloading to {target}")
        try:
            downloads[leaf.name](target)
        except UserError as error:
            left.append(f"{leaf.name}: {error}")
        except Exception as error:  # torchvision and the archive libraries have theirs
            left.append(
                f"{leaf.name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}; run again to go on"
            )
        else:
            say(f"{leaf.name}: done")
    return list(dict.fromkeys(left))


# ---------------------------------------------------------------- verify


class Verdict(NamedTuple):
    """What one split of a set holds, and what is wrong with it: nothing, or one line per fault."""

    need: Need
    images: int
    shapes: dict[str, int]
    classes: dict[int, int]
    digest: str
    faults: tuple[str, ...]
    recorded: bool


def verify(wanted: Sequence[Need], *, accept: bool = False, progress: Progress | None = None) -> list[Verdict]:
    """Read and decode every image: count, shapes, class histogram and digest, which is compared with the lock file beside the data.

    A set that the lock file does not know is entered (not if it has faults); one whose digest differs is a fault that names both,
    unless `accept`.
    """
    cache: dict[str, Dataset] = {}
    # By data set: what is read once for several splits says only once where it lies.
    seen: dict[str, list[Path]] = {}
    return [
        _verify(need, cache, seen, accept, progress)
        for need in {(fingerprint(n.spec.identity), n.split): n for n in wanted}.values()
    ]


def _verify(
    need: Need, cache: dict[str, Dataset], places_of: dict[str, list[Path]], accept: bool, progress: Progress | None
) -> Verdict:
    name = f"{need.spec.label} {need.split}"
    seen = places_of.setdefault(fingerprint(registry.plain_value(need.spec.plain)), [])
    with _set(trust, "nothing"), _set(places, seen):
        try:
            samples = _dataset(need.spec, cache)[need.split]
        except UserError as error:
            return Verdict(need, 0, {}, {}, "", (str(error),), False)
    shapes, faults = _decode(samples, name, progress)
    classes = dict(enumerate(samples.labels[samples.labels >= 0].bincount().tolist()))
    if bool((samples.labels < 0).any()):
        classes[-1] = int((samples.labels < 0).sum())
    known = len(cache[fingerprint(registry.plain_value(need.spec.plain))].classes)
    faults += [
        f"{name}: class {c} is empty" for c in range(known) if need.role in ("train", "test") and not classes.get(c)
    ]
    faults += [line for line in (getattr(samples, "note", ""),) if line]
    lock = _lock_file(seen)
    key = fingerprint({"set": registry.plain_value(need.spec.plain), "split": need.split})
    entries = _read_lock(lock)
    before = entries.get(key)
    entry = {"set": name, "count": len(samples), "sha256": samples.digest}
    if before is not None and before["sha256"] != samples.digest and not accept:
        faults.append(
            f"{name}: the content has changed: {before['count']} images, sha256 {before['sha256']} in {lock}, now {len(samples)} images,"
            f" sha256 {samples.digest}; restore it, or record the new content with --accept"
        )
    elif not faults and before != entry:
        _write_lock(lock, entries | {key: entry})
    return Verdict(need, len(samples), shapes, classes, samples.digest, tuple(faults), before is not None)


def _decode(
    samples: Samples, name: str, progress: Progress | None, step: int = 256
) -> tuple[dict[str, int], list[str]]:
    shapes: dict[str, int] = {}
    faults = []
    for start in range(0, len(samples), step):
        places = range(start, min(start + step, len(samples)))
        for found in _shapes(samples, places):
            if found.startswith("!"):
                faults.append(f"{name}: {found[1:]}")
            else:
                shapes[found] = shapes.get(found, 0) + 1
        if progress is not None:
            progress(name, places.stop, len(samples))
    return shapes, faults


def _shapes(samples: Samples, places: Sequence[int]) -> list[str]:
    """The shape of each image as text, or a line that starts with ``!`` where it cannot be read."""
    if isinstance(samples, FileSamples):
        return samples.shapes(places)
    try:
        return ["x".join(map(str, samples.read(places).shape[1:]))] * len(places)
    except UserError:  # images of several sizes, or a damaged one: one at a time
        found = []
        for i in places:
            try:
                found.append("x".join(map(str, samples.read([i]).shape[1:])))
            except UserError as error:
                found.append(f"!{error}")
        return found


def _lock_file(seen: Sequence[Path]) -> Path:
    """The lock file of the data root that holds the data; for data elsewhere (packages, a user's own paths) one in the cache folder."""
    for root in roots():
        for place in seen:
            if place.resolve().is_relative_to(root.resolve()):
                return root / LOCK
    return cache_folder() / LOCK


def _read_lock(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        raise UserError(f"{file}: is not a lock file; delete it to have it written anew") from None


def _write_lock(file: Path, entries: dict[str, Any]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=file.parent, prefix=".lock")
        with os.fdopen(handle, "w") as f:
            json.dump(dict(sorted(entries.items(), key=lambda e: e[1]["set"])), f, indent=1)
        os.replace(draft, file)
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); use a data root that can") from None


# ---------------------------------------------------------------- audit


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

    Compared: ID train and validation with ID test, each of these with every OOD set, and OOD validation and outliers with every OOD
    test set. Candidates have perceptual hashes (64 bits of a cosine transform) that differ in at most `bits`; of a near twin, the
    16x16 grey copies then correlate by 1 - `limit` or more. Exact twins are equal in every pixel at the network's size.
    """
    from oodbench.core.scorer import Geometry
    from oodbench.data.duplicates import Looks, looks, twins

    known: dict[str, Looks] = {}
    skipped = []
    cache: dict[str, Dataset] = {}
    geometry = pair.geometry
    for need in needs(pair):
        name = need.role.partition(": ")[2] or need.role
        try:
            samples = _dataset(need.spec, cache)[need.split]
        except UserError as error:
            skipped.append(f"{name}: {error}")
            continue
        if geometry is None:
            channels, height, width = samples.read([0]).shape[1:]
            geometry = Geometry((channels, height, width))
        known[name] = looks(samples, geometry, name, progress)
    outside = [n.role.partition(": ")[2] for n in needs(pair) if n.role.startswith(("near", "far"))]
    sides = [("train", "test"), ("val", "test"), ("train", "val")]
    sides += [(a, b) for a in ("train", "val", "test", "OOD validation", "outliers") for b in outside]
    found = []
    for a, b in sides:
        if a in known and b in known:
            for i, j, exact, difference in twins(known[a], known[b], bits, limit):
                found.append(Twin(a, known[a].ids[i], b, known[b].ids[j], exact, difference))
    return found, skipped


def count_table(samples: Sequence[Verdict]) -> list[str]:
    """One line per set: images, shapes, classes and the rarest and the commonest of them."""
    lines = []
    for v in samples:
        sizes = v.classes.values()
        spread = f"{len(sizes)} classes of {min(sizes)} to {max(sizes)}" if sizes else "no class"
        shapes = ", ".join(
            f"{s}" if len(v.shapes) == 1 else f"{n} of {s}"
            for s, n in sorted(v.shapes.items(), key=lambda x: -x[1])[:3]
        )
        more = f" and {len(v.shapes) - 3} shapes more" if len(v.shapes) > 3 else ""
        state = "FAULTY" if v.faults else "as recorded" if v.recorded else "recorded"
        lines.append(
            f"{v.need.spec.label} {v.need.split}: {v.images:,} images, {shapes}{more}, {spread}, sha256 {v.digest[:16]}: {state}"
        )
    return lines


def every_set() -> list[Need]:
    """The test split of every registered data set that needs no parameter."""
    found = []
    for name in registry.datasets:
        model = registry.datasets[name].model
        if not any(f.is_required() for f in model.model_fields.values()):
            found.append(Need("test", registry.resolve("dataset", name), "test"))
    return found
