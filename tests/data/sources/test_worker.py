"""What a decoding process answers: pixels or a reason for each file, in turn."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from oodbench.core.dataset import Geometry
from oodbench.data.sources.local_copy import Place, Source
from oodbench.data.sources.worker import serve


def test_pixels_or_a_reason_for_each_file_and_an_end(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    job = ([Source(str(tmp_path / n)) for n in ("a.png", "b.png", "a.png")], "rgb", Geometry((3, 2, 3)))
    answers = io.BytesIO()
    serve(io.BytesIO(pickle.dumps(job) + pickle.dumps((job[0][:1], *job[1:]))), answers)
    answers.seek(0)
    image = b"+" + pixels.transpose(2, 0, 1).tobytes()
    assert answers.read(len(image)) == image
    assert answers.read(1) == b"-"
    assert "cannot identify image file" in pickle.load(answers)
    assert answers.read() == image + image


def test_that_no_copy_can_be_kept_is_said_once_before_the_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "no folder").touch()
    copy = Place(str(tmp_path / "no folder" / "images" / "digest"), 0, b"", False, False)
    job = ([Source(str(tmp_path / "a.png"), copy)] * 2, "rgb", Geometry((3, 2, 3)))
    answers = io.BytesIO()
    serve(io.BytesIO(pickle.dumps(job)), answers)
    answers.seek(0)
    assert answers.read(1) == b"!"
    assert "no local copies can be kept" in pickle.load(answers)
    assert answers.read() == 2 * (b"+" + pixels.transpose(2, 0, 1).tobytes())
