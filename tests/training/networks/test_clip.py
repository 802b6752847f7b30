"""The network `clip` against the zero-shot classifiers of open_clip and transformers, and its identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.errors import NotApplicable, UserError
from oodbench.core.network import Network, Task
from oodbench.training.initialise import given_weights
from tests.training.networks.clip_models import (
    MEAN,
    NAMES,
    STD,
    TASK,
    open_clip_folder,
)

PROMPTS = ["a photo of a {}.", "a great {}"]
IMAGES = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
NORMALISED = (IMAGES - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def build(task: Task = TASK, **params: Any) -> Network:
    made: Network = registry.build("network", {"clip": {k: _plain(v) for k, v in params.items()}}, task)
    return made.eval()


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


@torch.no_grad()
def test_logits_are_those_of_open_clips_zero_shot_classifier(open_clip_model: Path) -> None:
    package = pytest.importorskip("open_clip")
    model = package.create_model(f"local-dir:{open_clip_model}").eval()
    tokenizer = package.get_tokenizer(f"local-dir:{open_clip_model}")
    classifier = package.build_zero_shot_classifier(model, tokenizer, NAMES, PROMPTS)
    features = model.encode_image(NORMALISED, normalize=True)
    network = build(model=open_clip_model, prompts=PROMPTS)
    torch.testing.assert_close(network.features(IMAGES), features, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        network(IMAGES), model.logit_scale.exp() * features @ classifier, atol=1e-5, rtol=0
    )
    assert network(IMAGES).std(dim=1).min() > 0.01, "texts differ"
    head = network.linear_head()
    assert head is not None
    torch.testing.assert_close(head.weight.norm(dim=1), model.logit_scale.exp().expand(4))
    assert not head.bias.any()


@torch.no_grad()
def test_logits_are_those_of_transformers(hugging_face_model: Path) -> None:
    package = pytest.importorskip("transformers")
    model = package.CLIPModel.from_pretrained(hugging_face_model).eval()
    tokenizer = package.CLIPTokenizer.from_pretrained(hugging_face_model)
    texts = tokenizer([f"a photo of a {n}." for n in NAMES], padding=True, return_tensors="pt")
    due = model(pixel_values=NORMALISED, **texts).logits_per_image
    network = build(model=hugging_face_model, library="huggingface")
    torch.testing.assert_close(network(IMAGES), due, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.features(IMAGES).norm(dim=1), torch.ones(5))
    assert due.std(dim=1).min() > 0.01, "texts differ"


@torch.no_grad()
def test_a_scale_of_ones_own(open_clip_model: Path) -> None:
    one, hundred = (build(model=open_clip_model, scale=s)(IMAGES) for s in (1, 100))
    torch.testing.assert_close(hundred, 100 * one)
    assert float(one.abs().max()) <= 1


@torch.no_grad()
def test_texts_may_be_averaged_as_they_are(open_clip_model: Path) -> None:
    package = pytest.importorskip("open_clip")
    model = package.create_model(f"local-dir:{open_clip_model}").eval()
    tokenizer = package.get_tokenizer(f"local-dir:{open_clip_model}")

    def row(name: str) -> Tensor:
        mean = model.encode_text(tokenizer([p.replace("{}", name) for p in PROMPTS])).mean(dim=0)
        return mean / mean.norm()

    network = build(model=open_clip_model, prompts=PROMPTS, average="raw", scale=1)
    torch.testing.assert_close(network.head.weight, torch.stack([row(n) for n in NAMES]), atol=1e-6, rtol=0)


def test_the_weights_key_depends_on_texts_and_weights(open_clip_model: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("moss\nfern\nreed\nrush\n")

    def key(task: Task = TASK, **params: Any) -> str:
        given = {"model": open_clip_model} | params
        return given_weights({"clip": {k: _plain(v) for k, v in given.items()}}, task)

    first = key()
    assert first
    assert key() == first, "the same again"
    assert key(classes=list(NAMES)) == first, "where names come from does not matter"
    negatives = {"words": str(words), "share": 0.5}
    others = [
        key(TASK._replace(names=("ant", "bee", "cat", "cow"))),
        key(prompts=["a {}."]),
        key(scale=7),
        key(model=open_clip_folder(tmp_path / "other", seed=1)),
        key(negatives=negatives),
        key(negatives=negatives | {"share": 0.75}),
    ]
    words.write_text("moss\nfern\nreed\nstone\n")
    others.append(key(negatives=negatives | {"share": 0.75}))
    assert len({first, *others}) == len(others) + 1
    untrained = {"model": str(Path(__file__).with_name("clip.json"))}
    assert key(**untrained) != key(TASK._replace(names=("a", "b", "c", "d")), **untrained)


def test_rounding_of_embeddings_is_not_identity(
    open_clip_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    given = {"clip": {"model": str(open_clip_model)}}
    first = given_weights(given, TASK)
    monkeypatch.setattr(
        "torch.nn.functional.normalize", lambda x, dim=1: x / (1e-6 + x.norm(dim=dim, keepdim=True))
    )
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path))
    assert given_weights(given, TASK) == first


@pytest.mark.parametrize(
    ("params", "task", "says"),
    [
        (
            {},
            TASK._replace(shape=(3, 64, 64)),
            r"takes images of 3 x 32 x 32, got 3 x 64 x 64; write `input: auto`",
        ),
        ({}, TASK._replace(shape=(1, 32, 32)), "got 1 x 32 x 32"),
        ({}, TASK._replace(names=()), "have no names; give them as `classes`"),
        ({}, TASK._replace(names=("0", "1", "2", "3")), r"are numbers \('0' …\); give them as `classes`"),
        ({"classes": ["ant", "bee"]}, TASK, "classes: 2 names for the 4 classes of the pair"),
        ({"classes": "nowhere.txt"}, TASK, "there is no file 'nowhere.txt'"),
        ({"classes": "imagenet"}, TASK, "1000 names for the 4 classes"),
        ({"prompts": "openai"}, TASK, "did you mean 'openai-simple'|did you mean 'openai-imagenet'"),
        ({"prompts": []}, TASK, "prompts: there is none"),
        ({"prompts": ["a photo"]}, TASK, "each should hold {} once"),
        ({"pretrained": "openai"}, TASK, "brings its own weights; leave it out"),
        (
            {"negatives": {"words": "none"}},
            TASK,
            r"clip.negatives.words: should be `wordnet`, a file or a folder",
        ),
        ({"negatives": {"word": "x"}}, TASK, "unknown parameter 'word'; did you mean 'words'"),
        ({"negatives": {"share": 2}}, TASK, r"clip.negatives.share: .*less than or equal to 1, got 2"),
    ],
)
def test_bad_input_is_one_line(open_clip_model: Path, params: Any, task: Task, says: str) -> None:
    with pytest.raises(UserError, match=says) as found:
        build(task, model=open_clip_model, **params)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 700
    if "images" in says:
        assert isinstance(found.value, NotApplicable)
