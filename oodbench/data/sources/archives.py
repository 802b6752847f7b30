"""Archives: downloaded, checked, unpacked beside their final place, which they take only when whole."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from oodbench.core.errors import UserError
from oodbench.data.sources.download import fetch, staged


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (any compression) or zip into `folder`; members that point outside are refused."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as z:
                outside = [n for n in z.namelist() if n.startswith(("/", "\\")) or ".." in Path(n).parts]
                if outside:
                    raise UserError(
                        f"{archive}: member {outside[0]!r} lies outside the folder; nothing was unpacked"
                    )
                z.extractall(folder)
        else:
            with tarfile.open(archive) as t:
                t.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error})") from None


def unpacked(url: str, md5: str) -> Callable[[Path], None]:
    """A download into a folder: the archive of `url`, unpacked."""

    def download(folder: Path) -> None:
        with staged(folder) as stage:
            archive = fetch(url, stage / url.rpartition("/")[2], md5=md5)
            unpack(archive, stage)
            archive.unlink()

    return download
