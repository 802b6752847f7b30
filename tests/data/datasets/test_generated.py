"""Generated pictures and noise: the same each time, of the kind that they say."""

from __future__ import annotations

import pytest
import torch

from tests.data.written import build


@pytest.mark.parametrize("kind", ["gaussian", "uniform", "rademacher", "blobs"])
def test_noise_is_of_its_kind(kind: str) -> None:
    data = build({"noise": {"kind": kind, "count": 60, "size": 32}})
    images = {s: data[s].read(range(60)) for s in data.splits}
    assert len({data[s].digest for s in data.splits}) == 3
    assert data["test"].digest == build({"noise": {"kind": kind, "count": 60, "size": 32}})["test"].digest
    x = images["test"].double() / 255
    if kind == "gaussian":  # a normal one of mean and deviation 0.5, clipped: 16 % at either end
        assert float((x == 0).double().mean()) == pytest.approx(0.159, abs=0.01)
        assert float((x == 1).double().mean()) == pytest.approx(0.159, abs=0.01)
    elif kind == "uniform":
        assert (float(x.mean()), float(x.var())) == pytest.approx((1 / 2, 1 / 12), abs=0.005)
    elif kind == "rademacher":
        assert sorted(images["test"].unique().tolist()) == [0, 255]
        assert float(x.mean()) == pytest.approx(0.5, abs=0.01)
    else:  # a quarter of each image is bright, in shapes: neighbours are alike
        assert (x == 0).flatten(1).double().mean(1).tolist() == pytest.approx([0.75] * 60, abs=0.01)
        beside = torch.corrcoef(torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()]))[0, 1]
        assert float(beside) > 0.7


def test_fractals_are_pictures_with_structure_no_two_alike() -> None:
    data = build({"fractals": {"count": 12, "size": 48}})
    x = data["train"].read(range(12)).double()
    assert x.shape == (12, 3, 48, 48)
    assert data["train"].digest == build({"fractals": {"count": 12, "size": 48}})["train"].digest
    assert len({i.numpy().tobytes() for i in x}) == 12
    assert bool((x.flatten(1).std(1) > 10).all())
    beside = (x[..., :-1] - x[..., 1:]).abs().mean((1, 2, 3))
    apart = (x - x.flatten(1)[:, torch.randperm(3 * 48 * 48)].view_as(x)).abs().mean((1, 2, 3))
    assert bool((beside < 0.6 * apart).all())
