"""OOD sets in the folders that their archives unpack to."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.core.errors import MissingData
from tests.data.written import build, write_images


def test_flat_and_labelled_ood_trees(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_images(data / "LSUN_resize" / "LSUN_resize", ["b.png", "a.png"])
    lsun = build("lsun-r")["test"]
    assert (list(lsun.ids), lsun.labels.tolist()) == (["a.png", "b.png"], [0, 0])
    write_images(data / "ninco" / "NINCO" / "NINCO_OOD_classes", ["frog/1.jpg", "auk/1.jpg", "auk/2.jpg"])
    ninco = build("ninco")["test"]
    assert (list(ninco.ids), ninco.labels.tolist()) == (["auk/1.jpg", "auk/2.jpg", "frog/1.jpg"], [0, 0, 1])
    with pytest.raises(MissingData, match="OpenOOD's download"):
        build("ssb-hard")["test"]
