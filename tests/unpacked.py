"""A store as it was before there were packs, by Python's own zip library."""

from __future__ import annotations

import zipfile
from pathlib import Path


def unpacked(store: Path) -> Path:
    """Take every pack of a store apart, into folders of one artefact each."""
    for pack in store.glob("packs/*/*/*.zip"):
        with zipfile.ZipFile(pack) as archive:
            assert archive.testzip() is None
            archive.extractall(store, [n for n in archive.namelist() if n != "index.json"])
        pack.unlink()
    return store
