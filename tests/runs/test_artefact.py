"""One artefact's folder: what is written is read, what is not whole is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from oodbench.runs.artefact import HOLDS, MANIFEST, Artefact, Draft, damage


def written(folder: Path) -> Path:
    folder.mkdir()
    draft = Draft(folder)
    part = torch.arange(6.0).view(2, 3)
    draft.tensors("scores", {"scores": part, "row": part[1]})  # tensors that share storage
    draft.json("meta", {"b": 1, "a": [None, 0.5]})
    draft.finish("scores")
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    artefact = Artefact(written(tmp_path / "a"))
    assert artefact.json("meta") == {"a": [None, 0.5], "b": 1}
    assert artefact.tensors("scores")["row"].tolist() == [3.0, 4.0, 5.0]
    assert artefact.bytes == sum(f.stat().st_size for f in artefact.folder.iterdir())
    assert damage(artefact.folder, "scores") == ""


def test_a_kind_is_finished_only_with_all_of_its_files(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    (folder / MANIFEST).unlink()
    for kind in HOLDS.keys() - {"scores"}:
        with pytest.raises(AssertionError, match=f"{kind} without"):
            Draft(folder).finish(kind)
    assert not (folder / MANIFEST).exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "manifest unreadable"),
        ("[]", "manifest unreadable"),
        ("3", "manifest unreadable"),
        ("{}", "meta.json is not in the manifest"),
        ('{"meta.json": {}, "scores.safetensors": {}}', "manifest unreadable"),
        ('{"meta.json": 1, "scores.safetensors": 2}', "manifest unreadable"),
        ("[" * 100_000, "manifest unreadable"),
    ],
)
def test_a_manifest_that_is_none_is_damage_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    folder = written(tmp_path / "a")
    (folder / MANIFEST).write_text(text)
    found = damage(folder, "scores")
    assert found.startswith(words)
    assert found.isprintable()


def test_a_file_that_is_no_file_or_another_is_damage(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    manifest = json.loads((folder / MANIFEST).read_text())
    for name in manifest:
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert damage(folder, "scores") == f"{name} does not match its checksum"
        (folder / name).unlink()
        (folder / name).mkdir()
        assert damage(folder, "scores") == f"{name} is missing"
        (folder / name).rmdir()
        (folder / name).write_bytes(before)
    assert damage(folder, "scores") == ""
