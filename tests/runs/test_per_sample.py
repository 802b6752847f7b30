"""Single samples for pictures and pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from oodbench.runs.held import Held
from oodbench.runs.per_sample import pictures_of, samples_of
from oodbench.runs.reopen import reopened


def held_of(folder: Path, place: int = 0) -> Held:
    held = list(reopened(folder).held())[place]
    assert isinstance(held, Held)
    return held


@pytest.mark.parametrize("most", [7, 10_000])
def test_so_many_evenly_spaced_samples_of_each_set(rich_run: Path, most: int) -> None:
    held = held_of(rich_run)
    found = samples_of(held, most)
    assert {(s["ood"], s["shift"]) for s in found} == {("", "id"), ("six", "near"), ("grey", "far")}
    for s in found:
        stored = held.run.sets[s["ood"] or "test"].samples
        assert stored is not None
        n = len(stored)
        assert len(s["index"]) == len(s["value"]) == min(n, most)
        assert s["index"][[0, -1]].tolist() == [0, n - 1]
        gaps = np.diff(s["index"])
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1
        if s["scorer"] in held.scores:
            whole = held.scores[s["scorer"]][s["ood"] or "test"].scores
            np.testing.assert_array_equal(s["value"], whole[torch.from_numpy(s["index"])].numpy())


def test_each_scorer_that_has_scores_and_what_the_network_says(rich_run: Path) -> None:
    held = held_of(rich_run)
    frame = pd.DataFrame(samples_of(held, 5))
    clean = {s.label for s in held.run.scorers if not s.attack and not s.reason}
    assert "energy [id]" in clean, "tuned ones by their own name"
    assert set(frame["scorer"]) == clean | {"max_probability", "max_logit"}
    assert not frame.duplicated(["ood", "scorer"]).any()
    logits = held.outputs.of("six").logits
    mine = frame[frame["ood"] == "six"].set_index("scorer")
    kept = torch.from_numpy(mine.loc["max_logit", "index"])
    np.testing.assert_allclose(mine.loc["max_logit", "value"], logits[kept].amax(dim=1).numpy())
    np.testing.assert_allclose(
        mine.loc["max_probability", "value"],
        torch.softmax(logits[kept].double(), dim=1).amax(dim=1).numpy(),
    )


def test_an_ensemble_shows_its_mean(rich_run: Path) -> None:
    held = held_of(rich_run, 2)
    found = {(s["ood"], s["scorer"]): s["value"] for s in samples_of(held, 10_000)}
    probabilities = [
        torch.softmax(Held(held.store, member).outputs.of("grey").logits.double(), dim=1)
        for member in held.run.sources
    ]
    expected = torch.stack(probabilities).mean(dim=0).amax(dim=1)
    np.testing.assert_allclose(found["grey", "max_probability"], expected.numpy(), rtol=1e-5)


def test_pictures_are_the_images_of_the_sets(rich_run: Path) -> None:
    plan = reopened(rich_run).plan
    read = pictures_of(plan)
    for name in ("", "six", "grey"):
        images = read("p", "", name, [3, 0])
        samples = plan.runs[0].sets[name or "test"].samples
        assert samples is not None
        raw = samples.read([3, 0], plan.runs[0].data.geometry)
        raw = raw if raw.dtype == torch.uint8 else (raw * 255).round().to(torch.uint8)
        assert [i.shape for i in images] == [(8, 8, 1)] * 2
        assert all(i.dtype == np.uint8 for i in images)
        for image, one in zip(images, raw, strict=True):
            np.testing.assert_array_equal(image[:, :, 0], one[0].numpy())
    assert read("another pair", "", "", [0]) == []
