"""Is the data on this disk what it should be: counts, decoding, shapes, digests; with the lock file that
remembers them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from oodbench.core.dataset import Dataset, Samples
from oodbench.core.errors import UserError
from oodbench.core.files import replace
from oodbench.core.identity import fingerprint
from oodbench.core.spec import plain_value
from oodbench.core.text_files import read_mapping, there
from oodbench.data.needs import Need, key_of, opened
from oodbench.data.reading import in_parts
from oodbench.data.sources.files import FileSamples
from oodbench.data.sources.roots import cache_folder, data_roots, settings
from oodbench.data.status import Progress

LOCK = "oodbench.lock.json"


class Verdict(NamedTuple):
    """What one split of a set holds, and what is wrong with it: nothing, or one line per fault."""

    need: Need
    images: int
    shapes: dict[str, int]
    classes: dict[int, int]
    digest: str
    faults: tuple[str, ...]
    recorded: bool


def verify(
    wanted: Sequence[Need], *, accept: bool = False, progress: Progress | None = None
) -> list[Verdict]:
    """Read and decode every image: count, shapes, class histogram and digest, which is compared with the lock
    file beside the data.

    A set that the lock file does not know is entered (not if it has faults); one whose digest differs is a
    fault that names both, unless `accept`."""
    cache: dict[str, Dataset] = {}
    # By data set: what is read once for several splits says only once where it lies.
    seen: dict[str, list[Path]] = {}
    return [
        _verify(need, cache, seen, accept, progress)
        for need in {(fingerprint(n.spec.identity), n.split): n for n in wanted}.values()
    ]


def _verify(
    need: Need,
    cache: dict[str, Dataset],
    places_of: dict[str, list[Path]],
    accept: bool,
    progress: Progress | None,
) -> Verdict:
    name = f"{need.spec.label} {need.split}"
    seen = places_of.setdefault(key_of(need.spec), [])
    with settings(trust="nothing", whole=True, found=seen):
        try:
            samples = opened(need.spec, cache)[need.split]
        except UserError as error:
            return Verdict(need, 0, {}, {}, "", (str(error),), False)
    shapes, faults = _decode(samples, name, progress)
    classes = dict(enumerate(samples.labels[samples.labels >= 0].bincount().tolist()))
    if bool((samples.labels < 0).any()):
        classes[-1] = int((samples.labels < 0).sum())
    known = len(cache[key_of(need.spec)].classes)
    faults += [
        f"{name}: class {c} is empty"
        for c in range(known)
        if need.role in ("train", "test") and not classes.get(c)
    ]
    faults += [line for line in (getattr(samples, "note", ""),) if line]
    lock = _lock_file(seen)
    key = fingerprint({"set": plain_value(need.spec.plain), "split": need.split})
    entries = _read_lock(lock)
    before = entries.get(key)
    entry = {"set": name, "count": len(samples), "sha256": samples.digest}
    if before is not None and before["sha256"] != samples.digest and not accept:
        faults.append(
            f"{name}: the content has changed: {before.get('count', '?')} images, sha256"
            f" {before['sha256']} in {lock}, now {len(samples)} images, sha256 {samples.digest}; restore it"
            ", or record the new content with --accept"
        )
    elif not faults and before != entry:
        _write_lock(lock, entries | {key: entry})
    return Verdict(need, len(samples), shapes, classes, samples.digest, tuple(faults), before is not None)


def _decode(
    samples: Samples, name: str, progress: Progress | None, step: int = 256
) -> tuple[dict[str, int], list[str]]:
    shapes: dict[str, int] = {}
    faults = []
    for places in in_parts(len(samples), step):
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
    """The lock file of the data root that holds the data; for data elsewhere (packages, a user's own paths)
    one in the cache folder."""
    for root in data_roots():
        for place in seen:
            if place.resolve().is_relative_to(root.resolve()):
                return root / LOCK
    return cache_folder() / LOCK


def _read_lock(file: Path) -> dict[str, Any]:
    try:
        found = read_mapping(file) if there(file) else {}
        whole = all(isinstance(e[k], str) for e in found.values() for k in ("set", "sha256"))
    except (UserError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"{file}: is not a lock file; delete it to have it written anew")
    return found


def _write_lock(file: Path, entries: dict[str, Any]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace(file, json.dumps(dict(sorted(entries.items(), key=lambda e: e[1]["set"])), indent=1))
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); use a data root that can") from None


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
            f"{v.need.spec.label} {v.need.split}: {v.images:,} images, {shapes}{more}, {spread}, sha256"
            f" {v.digest[:16]}: {state}"
        )
    return lines
