"""Archives: downloaded, checked, unpacked beside their final place, which they take only when whole."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from oodbench.data.sources.download import MadeMeanwhile, fetch, staged
from oodbench.data.sources.unpacking import unpack


def unpacked(url: str, md5: str) -> Callable[[Path], None]:
    """A download into a folder: the archive of `url`, unpacked. What another process makes meanwhile is not
    made again."""

    def download(folder: Path) -> None:
        with suppress(MadeMeanwhile), staged(folder) as stage:
            archive = fetch(url, stage / url.rpartition("/")[2], md5=md5)
            unpack(archive, stage)
            archive.unlink()

    return download
