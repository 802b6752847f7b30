"""One copy in memory of what several data sets read from the same files: a class split's known and unknown
classes, for one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from oodbench.data.samples import TensorSamples

_read: WeakValueDictionary[Hashable, TensorSamples] = WeakValueDictionary()


def held_once(key: Hashable, files: Sequence[Path], make: Callable[[], TensorSamples]) -> TensorSamples:
    """What `make` reads from `files`, read once for as long as somebody holds it and none of the files
    changes."""
    stats = [f.stat() for f in files]
    place = (key, *((str(f.resolve()), s.st_size, s.st_mtime_ns) for f, s in zip(files, stats, strict=True)))
    found = _read.get(place)
    if found is None:
        found = _read[place] = make()
    return found
