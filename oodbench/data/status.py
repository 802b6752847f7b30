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
    where, or what to do; the error that says what is missing."""

    need: Need
    state: str
    images: int
    where: str
    error: MissingData | None = None


def status_of(wanted: Sequence[Need]) -> list[Status]:
    """Whether the sets on disk that the needs come down to are here, without reading the files of large
    ones."""
    cache: dict[str, Dataset] = {}
    return [_status(need, cache) for need in of_leaves(wanted)]


def status_lines(found: Sequence[Status]) -> list[str]:
    """A line per set and state, with its splits. Below the last set that is missing from one download stands
    where it was looked for and what gets it, once."""
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
        lines += [f"         {w}" for w in where if state == "broken"]
        lines += [f"         {w}" for w in _to_get(members, [*groups.values()])]
    return lines


def _to_get(members: Sequence[Status], groups: Sequence[Sequence[Status]]) -> list[str]:
    """What is said below some sets that are missing: what a later one's download brings as well is said
    there."""
    later = [s.error for g in groups[groups.index(members) + 1 :] for s in g if s.error]
    still = {lack._replace(part="") for e in later for lack in e.lacks}
    own = [s.error for s in members if s.error]
    due = {lack._replace(part="") for e in own for lack in e.lacks} - still
    every = [s.error for g in groups for s in g if s.error]
    told = [MissingData(lacks=[k for k in e.lacks if k._replace(part="") in due]) for e in every]
    return str(MissingData.joined([e for e in own if not e.lacks] + told)).splitlines()


def _status(need: Need, cache: dict[str, Dataset]) -> Status:
    seen: list[Path] = []
    with settings(trust="presence", found=seen):
        try:
            count = len(opened(need.spec, cache)[need.split])
        except NotIndexed:
            count = -1
        except MissingData as error:
            return Status(need, "missing", -1, str(error), error)
        except UserError as error:
            return Status(need, "broken", -1, str(error))
        return Status(need, "here", count, ", ".join(dict.fromkeys(map(str, seen))))


def download(wanted: Sequence[Need], say: Callable[[str], None]) -> list[str]:
    """Download what is missing and can be; returns a line for everything that is still missing.

    Each set goes into a folder of its own in the first data root and appears there only when it is whole; an
    interrupted download is gone on with by the next one."""
    left: list[str] = []
    missing = [s for s in status_of(wanted) if s.state != "here"]
    not_ours = [s for s in missing if s.need.spec.name not in downloads or s.state == "broken"]
    left += [s.where for s in not_ours if s.error is None]
    left += str(MissingData.joined(s.error for s in not_ours if s.error is not None)).splitlines()
    for s in {s.need.spec.name: s for s in missing if s not in not_ours}.values():
        leaf = s.need.spec
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
