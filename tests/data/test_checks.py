"""Every image is decoded and counted; what changed against the lock file is a fault."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.data import checks, needs
from oodbench.data.sources import content, index, listing
from tests.data.written import write_images


@pytest.fixture
def wanted(tmp_path: Path) -> list[needs.Need]:
    """The test split of a folder of twenty pictures of two classes, three of them of another size."""
    root = tmp_path / "data" / "birds"
    for part in ("train", "test"):
        write_images(root / part, [f"{c}/{i}.png" for c in ("auk", "owl") for i in range(10)])
    write_images(root / "test", [f"owl/{i}.png" for i in range(3)], size=(4, 6))
    return [n for n in needs.needs_of_set({"folder": {"root": str(root)}}) if n.split == "test"]


def test_counts_shapes_classes_and_the_lock_file(wanted: list[needs.Need], tmp_path: Path) -> None:
    (first,) = checks.verify(wanted)
    assert (first.images, first.classes, first.faults) == (20, {0: 10, 1: 10}, ())
    assert first.shapes == {"3x8x8": 17, "3x4x6": 3}
    assert not first.recorded
    (entry,) = json.loads((tmp_path / "data" / checks.LOCK).read_text()).values()
    assert (entry["count"], entry["sha256"]) == (20, first.digest)
    (second,) = checks.verify(wanted)
    assert second.recorded
    (line,) = checks.count_table([second])
    assert "20 images, 17 of 3x8x8, 3 of 3x4x6, 2 classes of 10 to 10" in line
    assert line.endswith("as recorded")


def test_a_change_is_a_fault_until_it_is_accepted(wanted: list[needs.Need], tmp_path: Path) -> None:
    (before,) = checks.verify(wanted)
    write_images(tmp_path / "data" / "birds" / "test", ["auk/3.png"], seed=9)
    (changed,) = checks.verify(wanted)
    assert before.digest in changed.faults[0]
    assert changed.digest in changed.faults[0]
    (accepted,) = checks.verify(wanted, accept=True)
    assert accepted.faults == ()
    assert checks.verify(wanted)[0].faults == ()


def test_damaged_images_are_named_and_not_recorded(wanted: list[needs.Need], tmp_path: Path) -> None:
    (tmp_path / "data" / "birds" / "test" / "auk" / "4.png").write_bytes(b"no image")
    (found,) = checks.verify(wanted)
    assert "auk/4.png: cannot be decoded" in found.faults[0]
    assert not (tmp_path / "data" / checks.LOCK).exists()


@pytest.mark.parametrize("content", ["{", "[]", "", '{"x": 1}', '{"x": {"set": "a"}}', "\xff", "{}" * 9])
def test_a_damaged_lock_file_is_said(wanted: list[needs.Need], tmp_path: Path, content: str) -> None:
    (tmp_path / "data" / checks.LOCK).write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match="is not a lock file; delete it"):
        checks.verify(wanted)


def test_of_a_large_set_every_byte_is_compared_with_what_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run tells such a set by a few pieces of each file. What they do not show is a fault here, whether the
    lock file was written before sets were told so or after."""
    root = tmp_path / "data" / "large"
    for part in ("train", "test"):
        names = [f"{c}/{i}.bmp" for c in ("auk", "owl") for i in range(3)]
        write_images(root / part, names, size=(90, 90))
    wanted = [n for n in needs.needs_of_set({"folder": {"root": str(root)}}) if n.split == "test"]
    (small,) = checks.verify(wanted)
    for module in (content, index, listing):
        monkeypatch.setattr(module, "WHOLE", 1000)
    (large,) = checks.verify(wanted)
    assert (large.faults, large.recorded, large.digest) == ((), True, small.digest)

    def by_a_run() -> str:
        return needs.opened(wanted[0].spec, {})["test"].digest

    digest, file = by_a_run(), root / "test" / "auk" / "1.bmp"
    assert digest != small.digest
    seen, data = file.stat(), bytearray(file.read_bytes())
    assert len(data) > 3 * content.PIECE
    data[content.PIECE + 500] ^= 255
    file.write_bytes(data)
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert by_a_run() == digest
    (changed,) = checks.verify(wanted)
    assert "the content has changed" in changed.faults[0]
    assert checks.verify(wanted, accept=True)[0].faults == ()
