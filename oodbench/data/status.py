"""Whether data are here, how they get here, whether they are what they were, and whether sets share images:
``oodbench data``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from oodbench.core.dataset import Dataset
from oodbench.core.errors import MissingData, UserError, one_line
from oodbench.data.needs import Need, of_leaves, opened
from oodbench.data.sources.download import downloads
from oodbench.data.sources.index import NotIndexed
from oodbench.data.sources.roots import data_roots, offline, settings

Progress = Callable[[str, int, int], None]
"""Called with a set's name, images done and images in all."""


class Status(NamedTuple):
    """What there is of one need: ``here``, ``missing`` or ``broken``; how many `images` (-1: not counted);
    where, or what to do."""

    need: Need
    state: str
    images: int
    where: str


def status_of(wanted: Sequence[Need]) -> list[Status]:
    """Whether the sets on disk that the needs come down to are here, without reading the files of large
    ones."""
    cache: dict[str, Dataset] = {}
    return [_status(need, cache) for need in of_leaves(wanted)]


def status_lines(found: Sequence[Status]) -> list[str]:
    """A line per set and state, with its splits; what is missing has a second one, which says where it was
    looked for and what gets it."""
    groups: dict[tuple[str, str], list[Status]] = {}
    for s in found:
        groups.setdefault((s.need.spec.label, s.state), []).append(s)
    lines = []
    for (label, state), members in groups.items():
        splits = {s.need.split: s.images for s in members}
        counted = ", ".join(f"{split} {n:,}" if n >= 0 else split for split, n in splits.items())
        where = dict.fromkeys(s.where for s in members if s.where)
        lines.append(
            f"{state:<8} {label}: {counted}"
            + (f"  in {', '.join(where)}" if where and state == "here" else "")
        )
        lines += [f"         {w}" for w in where if state != "here"]
    return lines


def _status(need: Need, cache: dict[str, Dataset]) -> Status:
    seen: list[Path] = []
    with settings(trust="presence", found=seen):
        try:
            count = len(opened(need.spec, cache)[need.split])
        except NotIndexed:
            count = -1
        except MissingData as error:
            return Status(need, "missing", -1, str(error))
        except UserError as error:
            return Status(need, "broken", -1, str(error))
        return Status(need, "here", count, ", ".join(dict.fromkeys(map(str, seen))))


def download(wanted: Sequence[Need], say: Callable[[str], None]) -> list[str]:
    """Download what is missing and can be; returns a line for everything that is still missing.

    Each set goes into a folder of its own in the first data root and appears there only when it is whole; an
    interrupted download is gone on with by the next one."""
    left = []
    missing = {s.need.spec.name: s for s in status_of(wanted) if s.state != "here"}
    for s in missing.values():
        leaf = s.need.spec
        if leaf.name not in downloads or s.state == "broken":
            left.append(s.where)
            continue
        if offline():
            left.append(f"{leaf.name}: offline, so nothing was asked for; run again without --offline")
            continue
        target = data_roots()[0] / leaf.name
        say(f"{leaf.name}: downloading to {target}")
        try:
            downloads[leaf.name](target)
        except Exception as error:  # torchvision has its own
            if _status(s.need, {}).state == "here":  # another process was quicker
                say(f"{leaf.name}: another process got it")
            elif isinstance(error, UserError):
                left.append(f"{leaf.name}: {error}")
            else:
                left.append(f"{leaf.name}: {one_line(error)}; run again to go on")
        else:
            say(f"{leaf.name}: done")
    return list(dict.fromkeys(left))
