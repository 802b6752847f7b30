"""Every image is decoded and counted; what changed against the lock file is a fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.data import checks, needs
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
