"""What a decoding process answers: pixels or a reason for each file, in turn."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from oodbench.core.dataset import Geometry
from oodbench.data.sources.worker import serve


def test_pixels_or_a_reason_for_each_file_and_an_end(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    job = ([str(tmp_path / n) for n in ("a.png", "b.png", "a.png")], "rgb", Geometry((3, 2, 3)))
    answers = io.BytesIO()
    serve(io.BytesIO(pickle.dumps(job) + pickle.dumps((job[0][:1], *job[1:]))), answers)
    answers.seek(0)
    image = b"+" + pixels.transpose(2, 0, 1).tobytes()
    assert answers.read(len(image)) == image
    assert answers.read(1) == b"-"
    assert "cannot identify image file" in pickle.load(answers)
    assert answers.read() == image + image
