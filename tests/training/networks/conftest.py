"""Small models of images and texts, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.networks.clip_models import hugging_face_folder, open_clip_folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def open_clip_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return open_clip_folder(tmp_path_factory.mktemp("open_clip") / "tiny")


@pytest.fixture(scope="session")
def hugging_face_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hugging_face_folder(tmp_path_factory.mktemp("hugging_face") / "tiny")
