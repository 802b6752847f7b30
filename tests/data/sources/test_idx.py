"""IDX files: what is damaged is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oodbench.core.errors import UserError
from tests.data.written import build, write_idx, write_mnist


def test_a_damaged_idx_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "mnist"
    write_mnist(folder)
    images = folder / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-5])
    with pytest.raises(
        UserError,
        match=r"t10k-images-idx3-ubyte: header says 40x28x28, 31376 bytes, but the file holds 31371",
    ):
        build("mnist")["test"]
    images.write_bytes(b"hello")
    with pytest.raises(UserError, match="is not an IDX file"):
        build("mnist")["test"]
    write_idx(images, np.zeros((39, 28, 28)))
    with pytest.raises(UserError, match="should hold 39 labels"):
        build("mnist")["test"]
