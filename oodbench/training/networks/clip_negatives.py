"""Negative labels: words whose texts are far from those of all classes, so that images of no class are near
some of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from oodbench.core.errors import SpecError, UserError, shown
from oodbench.core.signature import problems_of
from oodbench.core.usercode import from_folder
from oodbench.training.networks.clip_embedding import Average, embedded, nearness
from oodbench.training.networks.clip_libraries import Model
from oodbench.training.networks.clip_texts import KINDS, WORDNET, words_of

Recipe = Literal["neglabel", "csp"]


class Negatives(BaseModel):
    """Which negative labels a network has.

    Args:
        words: WordNet's folder, a folder of lists noun.*.txt and adj.*.txt, or one list of nouns;
            ``wordnet``: WordNet as it lies in a data root, or as Debian or NLTK install it.
        recipe: whose code: NegLabel's or CSP's.
        share: the part of the words that is farthest from the classes; of nouns and adjectives each.
        percentile: of a word's cosines with all classes, in per cent: how near it is to them.
        without: groups of words to leave out; None: as the recipe does.
        seed: of the noun that CSP draws for each adjective.
    """

    model_config = ConfigDict(extra="forbid")

    words: str | Path = WORDNET
    recipe: Recipe = "neglabel"
    share: Annotated[float, Field(gt=0, le=1)] = 0.15
    percentile: Annotated[float, Field(ge=0, le=100)] = 95.0
    without: list[str] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0


def _checked(given: dict[str, Any], info: pydantic.ValidationInfo) -> dict[str, Any]:
    try:
        made = Negatives.model_validate(given)
    except pydantic.ValidationError as error:
        problems = problems_of(error, "", list(Negatives.model_fields))
        raise SpecError([(path.lstrip("."), message) for path, message in problems]) from None
    place = from_folder(Path(made.words), info)
    if not place.exists() and str(made.words) != WORDNET:
        raise SpecError(
            [("words", f"should be `{WORDNET}`, a file or a folder; there is none {shown(str(place))}")]
        )
    return {**dict(made), "words": place if place.exists() else WORDNET}


Asked = Annotated[dict[str, Any], AfterValidator(_checked)]
"""The parameter: keys of `Negatives`."""

_WITHOUT = {
    "neglabel": ("noun.animal", "noun.food"),
    "csp": ("noun.animal", "noun.food", "noun.person", "noun.quantity", "noun.group", "adj.pert"),
}
"""Groups that the lists of each code do not have."""
_ADJECTIVES = {
    "neglabel": ("This is a {} photo",),
    "csp": ("{}", "a nice photo of {}", "a good photo of {}", "a close-up photo of {}"),
}
_NOUNS = (
    "environment", "space", "object", "scene", "place", "item", "area", "view", "thing", "pattern",
    "structure", "landscape", "vista", "creature",
)  # fmt: skip
"""CSP makes an adjective a phrase with one of them."""
_KNOWN = 0.95
"""CSP never takes a word that has this cosine with a class."""


class Labels(NamedTuple):
    """Negative labels as texts, and their unit embeddings (M, D)."""

    texts: list[list[str]]
    embeddings: Tensor


def far_labels(
    model: Model, known: Tensor, asked: Negatives, prompts: Sequence[str], average: Average, who: str
) -> Labels:
    """The words farthest from the classes' unit embeddings `known` (C, D), nouns before adjectives, each kind
    from far to near. Nouns have the prompts of the classes. UserError where none is left.

    Source: Jiang et al., ICLR 2024, multi_modal.py of XueJiang16/NegLabel; Chen et al., NeurIPS 2024,
    multi_modal.py of MengyuanChen21/NeurIPS2024-CSP."""
    without = _WITHOUT[asked.recipe] if asked.without is None else asked.without
    words, rng = words_of(asked.words, without, who), random.Random(asked.seed)
    texts: list[list[str]] = []
    rows: list[Tensor] = []
    for kind in KINDS:
        names, forms = words[kind], prompts
        if kind == "adj":
            names = [f"{w} {rng.choice(_NOUNS)}" for w in names] if asked.recipe == "csp" else names
            forms = _ADJECTIVES[asked.recipe]
        count = int(len(names) * asked.share)
        if count == 0:
            continue
        found = [[form.replace("{}", name) for form in forms] for name in names]
        embeddings = embedded(model, found, average)
        near, most = nearness(embeddings, known, asked.percentile)
        if asked.recipe == "csp":
            near = near.where(most <= _KNOWN, torch.ones(()))
        chosen = near.argsort(stable=True)[:count]
        texts += [found[i] for i in chosen.tolist()]
        rows.append(embeddings[chosen])
    if not rows:
        total = sum(map(len, words.values()))
        raise UserError(f"network {who}: negatives.share: {asked.share:g} of {total} words is not one")
    return Labels(texts, torch.cat(rows))
