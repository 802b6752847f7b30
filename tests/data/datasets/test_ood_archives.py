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
    for name, place in (("mos-sun", "SUN/images"), ("mos-places", "Places/images")):
        write_images(data / place, ["a.jpg"])
        assert list(build(name)["test"].ids) == ["a.jpg"]
    write_images(data / "dtd" / "dtd" / "images", ["dotted/1.jpg", "banded/2.jpg"])
    assert list(build("mos-textures")["test"].ids) == ["banded/2.jpg", "dotted/1.jpg"]
    with pytest.raises(MissingData, match="OpenOOD's download"):
        build("ssb-hard")["test"]
