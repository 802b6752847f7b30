"""Embeddings of texts: computed once for one model and the same texts, then kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from oodbench.core.identity import fingerprint
from oodbench.data.sources.index import kept
from oodbench.training.networks.clip_libraries import Model

Average = Literal["unit", "raw"]
_TEXTS = 256
"""So many texts are encoded at a time."""


def embedded(model: Model, texts: Sequence[Sequence[str]], average: Average) -> Tensor:
    """A unit row for each of N things that K texts describe, (N, D): the mean of the K unit embeddings
    (``unit``, as open_clip and OpenAI do it) or of the K embeddings as they are (``raw``, CSP's code),
    normalised.

    On the GPU where there is one: 80 texts for each of 1,000 classes take a CPU many minutes. What a model
    with weights gave is kept in the cache folder."""
    if not model.digest:
        return _embedded(model, texts, average)
    key = fingerprint(["texts", 1, model.digest, [list(t) for t in texts], average])
    return torch.from_numpy(kept(f"texts-{key}", lambda: _embedded(model, texts, average).numpy()))


@torch.no_grad()
def _embedded(model: Model, texts: Sequence[Sequence[str]], average: Average) -> Tensor:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.module.to(device)
    rows, size = [], max(1, _TEXTS // max(1, len(texts[0])))
    try:
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            found = model.encode(model.tokens([t for group in part for t in group]).to(device)).float()
            found = found.view(len(part), -1, found.shape[1])
            found = F.normalize(found, dim=2) if average == "unit" else found
            rows.append(F.normalize(found.mean(dim=1), dim=1))
    finally:
        model.module.to("cpu")
    return torch.cat(rows).cpu()


def nearness(rows: Tensor, known: Tensor, percentile: float) -> tuple[Tensor, Tensor]:
    """The percentile of each row's cosines with all classes, and the largest of them, (N,) both, of unit rows
    (N, D) and (C, D)."""
    found = []
    for part in rows.split(max(1, 2**22 // len(known))):
        cosines = part @ known.T
        found.append(torch.stack([cosines.quantile(percentile / 100, dim=1), cosines.amax(dim=1)]))
    low, most = torch.cat(found, dim=1)
    return low, most
