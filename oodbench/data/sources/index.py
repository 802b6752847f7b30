"""What a large set consists of, listed once: files, labels and a digest of the content, kept so that the
second start is quick."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from oodbench.core.errors import UserError
from oodbench.core.files import readable, replace, replacing
from oodbench.core.identity import fingerprint
from oodbench.data.sources.content import WHOLE
from oodbench.data.sources.listing import Index, Item, Lines, Seen, list_files, looks
from oodbench.data.sources.paths import printable
from oodbench.data.sources.roots import cache_folder, digests_whole, note, trust

_VERSION = 3
ALL_CHECKED = 100_000
"""Of at most so many files the size and the time of each are compared with the index; of more,"""
SOME_CHECKED = 2_000
"""so many, evenly spaced."""


class NotIndexed(UserError):
    """A folder is here, but no index of it was kept, and none may be made now."""


def index_of(
    name: str, root: Path, stamp: str, items: Callable[[], Iterator[Item]], *, skip: bool = False,
    check: Callable[[Path], str] | None = None,
) -> Index:  # fmt: skip
    """The index of the files that `items` lists under `root`, from the cache where `stamp` and the files are
    as they were.

    `stamp` changes when the list does. Sizes and times of all files are compared, of `SOME_CHECKED` evenly
    spaced ones where there are more than `ALL_CHECKED`. With `skip`, samples that are missing or for which
    `check` gives a reason are left out and counted; without it the first missing one raises UserError with
    its line.

    Under ``--paranoid`` every byte of every file is read. UserError where a file of a `brief` set is not what
    it was when that was done before: its digest would not say so."""
    note(root)
    place = (
        cache_folder()
        / "index"
        / f"{fingerprint([_VERSION, str(root.resolve()), name, stamp, skip])[:32]}.safetensors"
    )
    found = _cached(place, root) if trust() != "nothing" else None
    if found is None:
        if trust() == "presence":
            raise NotIndexed(f"{root}: has not been read yet")
        found, seen = list_files(name, root, items, skip, check)
        before = _opened(place)
        if before is not None and not digests_whole():
            _changed_unseen(before[0], found, root)
            found = _as_before(before[0], found)
        _keep(found, seen, place)
    if found.skipped:  # said at every start, not only at the one that found out
        warnings.warn(
            f"data set {name!r}: {len(found.skipped)} samples skipped, the first: {found.skipped[0]}",
            stacklevel=2,
        )
    return found._replace(digest=found.every) if digests_whole() and found.every else found


def _changed_unseen(before: Index, now: Index, root: Path) -> None:
    """UserError where a file has the mark that it had, and other bytes."""
    if before.hashes is None or now.hashes is None or list(before.paths) != list(now.paths):
        return
    other = (before.contents == now.contents).all(axis=1) & (before.hashes != now.hashes).any(axis=1)
    if other.any():
        file = printable(str(root / now.paths[int(np.flatnonzero(other)[0])]))
        raise UserError(
            f"{file}: is not what it was when every byte was read before ({int(other.sum())} such files), and"
            " size, start, middle and end do not tell; restore it, or give what has changed another name"
        )


def _as_before(before: Index, now: Index) -> Index:
    """What every byte said when it was read, kept where files have other times and nothing else is seen: the
    next ``--paranoid`` compares with it."""
    if now.brief and now.hashes is None and now.digest == before.digest:
        return now._replace(hashes=before.hashes, every=before.every)
    return now


def _cached(place: Path, root: Path) -> Index | None:
    """The index that was kept, if it is that of the files as they look now."""
    kept_there = _opened(place)
    if kept_there is None:
        return None
    found, seen = kept_there
    was_read_whole = not found.brief and int(np.sum(seen.sizes)) > WHOLE  # as all sets were once
    return found if not was_read_whole and _unchanged(found.paths, root, seen) else None


def _opened(place: Path) -> tuple[Index, Seen] | None:
    """The index that was kept, and how its files looked then."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = load(readable(place).read_bytes())
        about = json.loads(data.pop("about").tobytes())
        found = Index(
            Lines(data["block"], data["ends"]), data["labels"], data["contents"], about["digest"],
            tuple(about["skipped"]), bool(about.get("brief")), data.get("hashes"), about.get("every", ""),
        )  # fmt: skip
        return found, Seen(data["sizes"], data["times"], [tuple(s) for s in about["unread"]])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError):
        return None


def _unchanged(paths: Lines, root: Path, seen: Seen) -> bool:
    """Whether the files are as they were, those too that could not be read."""
    n, base = len(paths), str(root)
    places = range(n) if n <= ALL_CHECKED else range(0, n, n // SOME_CHECKED)
    return all(looks(f"{base}/{paths[i]}") == (seen.sizes[i], seen.times[i]) for i in places) and all(
        looks(f"{base}/{path}") == (size, time) for path, size, time in seen.unread
    )


def _keep(found: Index, seen: Seen, place: Path) -> None:
    from safetensors.numpy import save

    said = {"digest": found.digest, "skipped": found.skipped, "unread": seen.unread}
    about = json.dumps(said | ({"brief": True, "every": found.every} if found.brief else {}))
    data = {
        **({} if found.hashes is None else {"hashes": found.hashes}),
        **found.paths.arrays,
        "labels": found.labels,
        "contents": found.contents,
        "sizes": np.asarray(seen.sizes, np.int64),
        "times": np.asarray(seen.times, np.int64),
        "about": np.frombuffer(about.encode(), np.uint8),
    }
    with contextlib.suppress(OSError):  # an index that cannot be kept is made again
        place.parent.mkdir(parents=True, exist_ok=True)
        replace(place, save(data))


def kept(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` finds out about a set, from the cache where it is there under `name`, which says by its
    digest of which content."""
    place = cache_folder() / "arrays" / f"{name}.npy"
    try:
        return np.load(readable(place), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        found = make()
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as draft, open(draft, "wb") as file:
            np.save(file, found, allow_pickle=False)
    return found
