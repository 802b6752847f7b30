"""A whole suite on a CLIP: from a folder of images with class names to rows of every kind of score."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from sklearn.metrics import roc_auc_score

from oodbench.core.errors import UserError
from oodbench.runs.runner import run
from oodbench.suite.load import load_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.run import TrainedRun
from tests.data.pairs.built import SUITES
from tests.training.networks.clip_models import NAMES, hugging_face_folder, open_clip_folder

SCORERS = [
    "mcm",
    {"gl-mcm": {"weight": 0.5}},
    "neglabel",
    "msp",
    "energy",
    {"knn": {"k": 5}},
    "react",
    "vim",
    "max-cosine",
]


def images(folder: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(folder / f"{i}.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for part, count in (("train", 12), ("test", 6)):
        for i, name in enumerate(NAMES):
            images(tmp_path / "known" / part / name, count, 10 * len(part) + i)
    images(tmp_path / "strange" / "all", 15, 99)
    (tmp_path / "words.txt").write_text(
        "\n".join(["moss", "fern", "reed", "rush", "oak", "elm", "ash", "yew"])
    )
    return tmp_path


def suite_of(data: Path, network: dict[str, object], scorers: list[object]) -> Path:
    file = data / "suite.yaml"
    raw = {
        "name": "clip",
        "pairs": [{"name": "own", "id": {"folder": {"root": "known", "val": 0.25}},
                   "far": {"strange": {"folder": {"root": "strange", "split": "none"}}}}],
        "networks": [{"clip": network, "input": "auto", "as": "clip"}], "methods": ["pretrained"],
        "scorers": scorers, "seeds": [0],
    }  # fmt: skip
    file.write_text(yaml.safe_dump(raw))
    return file


def rows(data: Path, network: dict[str, object], scorers: list[object]) -> pd.DataFrame:
    return run(suite_of(data, network, scorers), results=data / "results", plots=False).rows


@torch.no_grad()
def by_open_clip(data: Path) -> float:
    """The AUROC of MCM as open_clip and scikit-learn give it, its own transform included."""
    package = pytest.importorskip("open_clip")
    model, _, transform = package.create_model_and_transforms(f"local-dir:{data / 'tiny'}")
    tokens = package.get_tokenizer(f"local-dir:{data / 'tiny'}")([f"a photo of a {n}." for n in NAMES])
    texts = model.eval().encode_text(tokens, normalize=True)

    def scores(folder: Path) -> list[float]:
        pictures = [transform(Image.open(f)) for f in sorted(folder.rglob("*.png"))]
        cosines = model.encode_image(torch.stack(pictures), normalize=True) @ texts.T
        return (-cosines.double().softmax(dim=1).amax(dim=1)).tolist()

    known, strange = scores(data / "known" / "test"), scores(data / "strange")
    return float(roc_auc_score([0] * len(known) + [1] * len(strange), known + strange))


def test_every_kind_of_score_on_open_clip(data: Path) -> None:
    open_clip_folder(data / "tiny")
    negatives = {"words": "words.txt", "share": 1.0}
    found = rows(data, {"model": "tiny", "negatives": negatives}, SCORERS)
    done = found[found["ood"] == "strange"]
    assert len(done) == len(SCORERS)
    assert done["auroc"].notna().all()
    assert set(found["status"]) == {"ok"}
    mine = done[done["scorer"] == "mcm"]["auroc"].item()
    assert mine == pytest.approx(by_open_clip(data), abs=0.01), "but for a grey level here and there"


def test_transformers_from_a_folder(data: Path) -> None:
    hugging_face_folder(data / "tiny")
    found = rows(data, {"model": "tiny", "library": "huggingface"}, ["mcm", "gl-mcm", "mls"])
    assert found[found["ood"] == "strange"]["auroc"].notna().sum() == 3


def test_a_score_of_negatives_needs_them(data: Path) -> None:
    open_clip_folder(data / "tiny")
    with pytest.raises(UserError, match="scorer 'neglabel' reads the head 'negatives'"):
        make_plan(load_suite(suite_of(data, {"model": "tiny"}, ["neglabel"])))


def test_other_class_names_are_other_weights(data: Path) -> None:
    open_clip_folder(data / "tiny")
    suite = suite_of(data, {"model": "tiny"}, ["mcm"])
    first = make_plan(load_suite(suite)).runs[0].key
    for part in ("train", "test"):
        (data / "known" / part / "dog").rename(data / "known" / part / "eel")
    assert make_plan(load_suite(suite)).runs[0].key != first


def test_two_pairs_of_one_suite_have_the_names_of_their_own(data: Path) -> None:
    open_clip_folder(data / "tiny")
    shutil.copytree(data / "known", data / "renamed")
    for part in ("train", "test"):
        (data / "renamed" / part / "dog").rename(data / "renamed" / part / "eel")
    file = suite_of(data, {"model": "tiny"}, ["mcm"])
    raw = yaml.safe_load(file.read_text())
    other = {**raw["pairs"][0], "name": "other", "id": {"folder": {"root": "renamed", "val": 0.25}}}
    file.write_text(yaml.safe_dump(raw | {"pairs": [raw["pairs"][0], other]}))
    one, two = make_plan(load_suite(file)).runs
    assert isinstance(one, TrainedRun)
    assert isinstance(two, TrainedRun)
    assert one.given != two.given


@pytest.mark.parametrize("file", sorted(f.name for f in (SUITES / "clip").glob("*.yaml")))
def test_the_papers_suites_say_what_data_they_lack(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("open_clip")
    monkeypatch.setenv("OODBENCH_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"is not here; looked for it in .*; to get it: "):
        make_plan(load_suite(SUITES / "clip" / file))
