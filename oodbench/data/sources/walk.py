"""One walk over folders of images: which images there are, what is passed over, and where a folder comes
twice."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from oodbench.core.errors import UserError, one_line
from oodbench.data.sources.paths import coded, kind_of, printable

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
_UNREAD = frozenset((
    ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpx", ".jxl", ".pbm", ".pnm", ".tga", ".ico", ".svg", ".psd",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw",
))  # fmt: skip
"""Suffixes of images that nobody can be sure to decode everywhere."""
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"8BPS", b"\xff\x0a", b"\0\0\0\x0cJXL ")
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heif", b"mif1", b"msf1", b"hevc")


class _Folder(NamedTuple):
    """What a folder holds that counts: image files, and sub-folders that are entered."""

    images: list[str]
    folders: list[str]


class Walk:
    """Everything below some folders of a set, in the order of os.walk with names sorted.

    Each folder is entered once, by its true name where that lies in the set, whatever links lead to it. A
    link to a folder around it is not followed at all. Hidden files and folders do not count.

    Args:
        root: where the paths of the images start.
        tops: the folders below `root` that are walked, relative to it; "" is `root` itself.

    After it, `problems` says why something that bears an image's name is no file, by its path.

    Raises:
        UserError: a folder cannot be read, or two tops are one folder.
    """

    def __init__(self, root: Path, tops: Sequence[str]) -> None:
        self.root = root
        self.problems: dict[str, str] = {}
        self._folders: dict[str, _Folder] = {}
        self._links: list[str] = []
        around = {str(p) for top in tops for p in Path(root, top).parents if p.is_relative_to(root)}
        self._entered = {_identity(p) for p in around}
        self._others: Counter[str] = Counter()
        self._example: dict[str, str] = {}
        for top in _true_ones_first(root, tops):
            if not self._enter(top):
                raise UserError(
                    f"{printable(str(root))}: {printable(top)!r} is a link to a folder that is read already;"
                    " remove it, since its images would count twice"
                )
        while self._links:
            links, self._links = sorted(self._links), []
            for link in links:
                if not leads_back(self._place(link)):
                    self._enter(link)

    def images(self, top: str) -> Iterator[str]:
        """The paths of the images below one of the tops, from the root."""
        todo = [top]
        while todo:
            here = self._folders.get(todo.pop())
            if here is not None:
                yield from here.images
                todo += reversed(here.folders)

    def stamp(self, tops: Sequence[str]) -> str:
        """sha256 over the paths of the images of each top: what an index lists, and no more."""
        sha = hashlib.sha256()
        for top in tops:
            sha.update(coded("\0".join(self.images(top)) + "\0\0"))
        return sha.hexdigest()

    def passed_over(self) -> str:
        """Files that are images of a kind that is not read, counted by suffix; empty where there is none."""
        found = {
            s: n for s, n in sorted(self._others.items()) if s in _UNREAD or self._looks_so(self._example[s])
        }
        counts = [f"{n} {printable(s) or 'without suffix'}" for s, n in found.items()]
        return one_line(", ".join(counts), 200) if counts else ""

    # ------------------------------------------------------------

    def _place(self, path: str) -> str:
        return os.path.join(self.root, path) if path else str(self.root)

    def _enter(self, start: str) -> bool:
        """Scan a folder and the true folders below it, if it was not entered before."""
        if not self._is_new(start):
            return False
        todo = [start]
        while todo:
            place = todo.pop()
            images, folders = self._scan(place)
            self._folders[place] = _Folder(images, folders)
            todo += [f for f in folders if not os.path.islink(self._place(f)) and self._is_new(f)]
        return True

    def _is_new(self, path: str) -> bool:
        identity = _identity(self._place(path))
        new = identity not in self._entered
        self._entered.add(identity)
        return new

    def _scan(self, place: str) -> tuple[list[str], list[str]]:
        images, folders, before = [], [], f"{place}/" if place else ""
        for e in _entries(self._place(place)):
            name = e.name
            if name.startswith("."):
                continue
            if _is_dir(e):
                folders.append(before + name)
                if e.is_symlink():
                    self._links.append(before + name)
            elif name.lower().endswith(SUFFIXES):
                images.append(before + name)
                if problem := _problem(e):
                    self.problems[before + name] = problem
            elif not _problem(e):
                suffix = os.path.splitext(name.lower())[1]
                self._others[suffix] += 1
                self._example.setdefault(suffix, before + name)
        return sorted(images), sorted(folders)

    def _looks_so(self, path: str) -> bool:
        """Whether a file begins as an image does."""
        try:
            with open(self._place(path), "rb") as f:
                start = f.read(16)
        except OSError:
            return False
        webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
        return start.startswith(_MAGIC) or webp or (start[4:8] == b"ftyp" and start[8:12] in _BRANDS)


def class_folders(root: Path) -> list[str]:
    """Names of the sub-folders, sorted: the classes of a class-per-folder tree. Hidden ones, and links that
    lead back to `root` or to a folder around it, are none."""
    folders = [e for e in _entries(str(root)) if not e.name.startswith(".") and _is_dir(e)]
    return sorted(e.name for e in folders if not (e.is_symlink() and leads_back(e.path)))


def once(root: Path, tops: Sequence[str]) -> list[str]:
    """The same folders below `root` without those that are links to another one of them."""
    found: dict[tuple[int, int], str] = {}
    for top in _true_ones_first(root, tops):
        found.setdefault(_identity(os.path.join(root, top)), top)
    return [top for top in tops if top in found.values()]


def loose_images(root: Path) -> list[str]:
    """Names of what lies in `root` itself under an image's name, in no sub-folder, sorted."""
    named = [e for e in _entries(str(root)) if not e.name.startswith(".") and not _is_dir(e)]
    return sorted(e.name for e in named if e.name.lower().endswith((*SUFFIXES, *_UNREAD)))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: str, error: OSError) -> UserError:
    return UserError(
        f"{one_line(printable(folder))}: the folder cannot be read ({one_line(error.strerror or error)})"
    )


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _problem(entry: os.DirEntry[str]) -> str:
    """Why something that bears an image's name is no file; empty for a file, which costs no look at the
    disk."""
    try:
        if entry.is_file():
            return ""
        return f"{printable(entry.path)}: is {kind_of(entry.stat().st_mode)}, no image file"
    except OSError:
        return f"{printable(entry.path)}: is a link to a file that is not there"


def _identity(folder: str) -> tuple[int, int]:
    try:
        seen = os.stat(folder)
    except OSError as error:
        raise _unreadable(folder, error) from None
    return seen.st_dev, seen.st_ino


def leads_back(link: str) -> bool:
    """Whether a link leads to a folder that it lies in, at whatever depth."""
    here, target = Path(os.path.realpath(os.path.dirname(link))), os.path.realpath(link)
    return here.is_relative_to(target)


def _true_ones_first(root: Path, tops: Sequence[str]) -> list[str]:
    """Folders below `root`, those that links lead to at the end: what truly lies in a set keeps its name."""
    true = os.path.realpath(root)
    return sorted(tops, key=lambda t: os.path.realpath(os.path.join(root, t)) != os.path.join(true, t))
