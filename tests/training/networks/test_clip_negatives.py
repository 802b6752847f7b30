"""Negative labels against a slow choice of them, word by word."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oodbench.core.errors import UserError
from oodbench.training.networks.clip_embedding import embedded
from oodbench.training.networks.clip_libraries import Model, loaded
from oodbench.training.networks.clip_negatives import _NOUNS, Negatives, far_labels
from tests.training.networks.clip_models import NAMES

WORDS = {
    "noun.plant": ["moss", "fern", "reed", "rush", "oak", "elm", "lily"], "noun.person": ["poet", "guard"],
    "adj.all": ["green", "tall", "soft", "old", "wet"],
}  # fmt: skip
PROMPTS = ["the nice {}", "{}"]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    for name, lines in WORDS.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    return tmp_path


def slowly(
    model: Model, texts: list[list[str]], known: torch.Tensor, count: int, limit: float
) -> list[list[str]]:
    near = []
    for group in texts:
        cosines = (embedded(model, [group], "unit") @ known.T)[0].numpy()
        near.append(1.0 if cosines.max() > limit else np.percentile(cosines, 80))
    return [texts[i] for i in np.argsort(near, kind="stable")[:count]]


@pytest.mark.parametrize("recipe", ["neglabel", "csp"])
def test_words_far_from_all_classes(open_clip_model: Path, words: Path, recipe: Any) -> None:
    model = loaded("open_clip", open_clip_model, None, "x")
    known = embedded(model, [[p.replace("{}", n) for p in PROMPTS] for n in NAMES], "unit")
    asked = Negatives(words=words, recipe=recipe, share=0.5, percentile=80, seed=3)
    found = far_labels(model, known, asked, PROMPTS, "unit", "x")

    nouns = WORDS["noun.plant"] + ([] if recipe == "csp" else WORDS["noun.person"])
    if recipe == "csp":
        nouns, rng = WORDS["noun.plant"], random.Random(3)
        phrases = [f"{w} {rng.choice(_NOUNS)}" for w in WORDS["adj.all"]]
        adjectives = [
            [p, f"a nice photo of {p}", f"a good photo of {p}", f"a close-up photo of {p}"] for p in phrases
        ]
    else:
        nouns = [*WORDS["noun.person"], *WORDS["noun.plant"]]
        adjectives = [[f"This is a {w} photo"] for w in WORDS["adj.all"]]
    limit = 0.95 if recipe == "csp" else 2
    due = slowly(model, [[f"the nice {w}", w] for w in nouns], known, len(nouns) // 2, limit)
    due += slowly(model, adjectives, known, 2, limit)
    assert found.texts == due
    torch.testing.assert_close(
        found.embeddings, torch.cat([embedded(model, [t], "unit") for t in due]), atol=1e-5, rtol=0
    )


def test_groups_of_ones_own_choice(open_clip_model: Path, words: Path) -> None:
    model = loaded("open_clip", open_clip_model, None, "x")
    known = embedded(model, [[n] for n in NAMES], "unit")
    asked = Negatives(words=words, recipe="csp", share=1, without=["adj.all"])
    found = far_labels(model, known, asked, ["{}"], "unit", "x")
    assert sorted(t[0] for t in found.texts) == sorted(WORDS["noun.plant"] + WORDS["noun.person"])
    with pytest.raises(UserError, match=r"share: 0.01 of 14 words is not one"):
        far_labels(model, known, Negatives(words=words, share=0.01), ["{}"], "unit", "x")
