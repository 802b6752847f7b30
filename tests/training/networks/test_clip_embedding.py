"""Embeddings of texts: averaged, computed once, kept by what they depend on; nearness of words to classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from oodbench.training.networks.clip_embedding import embedded, nearness
from oodbench.training.networks.clip_libraries import Model, loaded

TEXTS = [[f"a {w}", f"the {w} there"] for w in ("ant", "bee", "cat")]


def counted(model: Model, calls: list[int]) -> Model:
    def encode(tokens: torch.Tensor) -> torch.Tensor:
        calls.append(len(tokens))
        return model.encode(tokens)

    return model._replace(encode=encode)


def test_what_was_embedded_once_is_kept(open_clip_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oodbench.training.networks.clip_embedding._TEXTS", 4)
    calls: list[int] = []
    model = counted(loaded("open_clip", open_clip_model, None, "x"), calls)
    first = embedded(model, TEXTS, "unit")
    assert calls == [4, 2], "two things of two texts at a time"
    assert torch.equal(embedded(model, TEXTS, "unit"), first)
    assert calls == [4, 2]
    raw = embedded(model, TEXTS, "raw")
    assert not torch.allclose(raw, first, atol=1e-6)
    embedded(model, TEXTS[::-1], "unit")
    assert calls == [4, 2] * 3
    embedded(model._replace(digest=""), TEXTS, "unit")
    embedded(model._replace(digest=""), TEXTS, "unit")
    assert calls == [4, 2] * 5, "drawn weights are not kept"
    with torch.no_grad():
        alone = torch.stack([model.encode(model.tokens([t]))[0] for texts in TEXTS for t in texts]).view(
            3, 2, -1
        )
    for found, rows in ((first, torch.nn.functional.normalize(alone, dim=2)), (raw, alone)):
        mean = rows.mean(dim=1)
        torch.testing.assert_close(found, mean / mean.norm(dim=1, keepdim=True), atol=1e-5, rtol=0)


def test_nearness_is_a_percentile_of_cosines() -> None:
    rng = torch.Generator().manual_seed(0)
    rows, known = (torch.nn.functional.normalize(torch.randn(n, 6, generator=rng), dim=1) for n in (50, 9))
    low, most = nearness(rows, known, 95)
    cosines = (rows @ known.T).numpy()
    np.testing.assert_allclose(low.numpy(), np.percentile(cosines, 95, axis=1), atol=1e-6)
    np.testing.assert_allclose(most.numpy(), cosines.max(axis=1), atol=1e-6)
