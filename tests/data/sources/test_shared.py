"""What several data sets read from the same files is in memory once."""

from __future__ import annotations

import gc
from pathlib import Path

import torch

from oodbench.data.samples import TensorSamples
from oodbench.data.sources.shared import held_once


def test_one_copy_while_somebody_holds_it_and_the_file_is_the_same(tmp_path: Path) -> None:
    file = tmp_path / "images.npy"
    file.write_bytes(b"one")
    made: list[int] = []

    def make() -> TensorSamples:
        made.append(1)
        return TensorSamples(torch.zeros(2, 1, 4, 4), torch.zeros(2))

    first = held_once("part", [file], make)
    assert held_once("part", [file], make) is first
    assert held_once("other part", [file], make) is not first
    file.write_bytes(b"changed")
    changed = held_once("part", [file], make)
    assert changed is not first
    assert len(made) == 3
    del changed
    gc.collect()
    held_once("part", [file], make)
    assert len(made) == 4
