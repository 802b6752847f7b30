"""Views of a network's stages against slow references; what cannot be viewed is said."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from oodbench import build
from oodbench.core.network import Network, Task
from oodbench.data.contract import toy_images
from tests.scoring.seen import rng


def test_stages_hands_on_what_hooks_would_see(network: Network) -> None:
    x = toy_images(5).images
    extras = build("view", "stages")(network, x, rng())
    h = (x - network.mean) / network.std
    for i, module in enumerate(network.body):  # type: ignore[arg-type]
        h = module(h)
        if f"body.{i}" in network.stages:
            torch.testing.assert_close(extras[f"stages.body.{i}"], h.mean(dim=(2, 3)))
    assert len(extras) == len(network.stages)
    assert not any(m._forward_hooks for m in network.modules())


def test_gram_rows_are_those_of_the_whole_matrix() -> None:
    maps = torch.randn(3, 4, 9, generator=rng())
    found = build("view", {"gram": {"powers": 3}}).rows(maps)
    for b in range(3):
        for p in (1, 2, 3):
            f = maps[b].double() ** p
            row = (f @ f.T).sum(dim=1)
            torch.testing.assert_close(
                found[b, 4 * (p - 1) : 4 * p].double(),
                row.sign() * row.abs() ** (1 / p),
                rtol=1e-4,
                atol=1e-5,
            )


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_gram_does_not_overflow(scale: float) -> None:
    maps = torch.randn(2, 4, 9, generator=rng())
    view = build("view", {"gram": {"powers": 10}})
    rows = view.rows(maps * scale)
    assert rows.isfinite().all()
    torch.testing.assert_close(rows, view.rows(maps) * scale**2, rtol=1e-3, atol=0)
    assert torch.equal(view.rows(torch.zeros(1, 4, 9)), torch.zeros(1, 40))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 8, 2, 2), (1, 3, 7), (1, 1, 1, 1)])
def test_the_leading_singular_component_is_removed(shape: tuple[int, ...]) -> None:
    from oodbench.scoring.views.stages import without_rank_one

    maps = torch.randn(*shape, generator=rng())
    matrix = maps.flatten(2)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    expected = matrix - s[:, :1, None] * u[:, :, :1] @ v[:, :1]
    torch.testing.assert_close(without_rank_one(maps).flatten(2), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(without_rank_one(torch.zeros(shape)), torch.zeros(shape))


@pytest.mark.parametrize("view", ["stages", "gram", "rankfeat"])
def test_a_network_without_stages_is_refused(view: str) -> None:
    task = Task("image", (1, 8, 8), 3, (0.0,), (1.0,))
    bare = Network(task, nn.Flatten(), nn.Linear(64, 3))
    assert "names none" in build("view", view).objection(bare)
    lost = Network(task, nn.Sequential(nn.Flatten()), nn.Linear(64, 3), ["body.0"])
    assert ("dimensions are needed" in build("view", view).objection(lost)) == (
        view == "rankfeat"
    ) or view == "rankfeat"


def test_objections_name_the_stage(network: Network) -> None:
    assert "'nothing' is not one of the network's: body.0" in build(
        "view", {"stages": {"stages": ["nothing"]}}
    ).objection(network)
    assert "the network names 3 stages" in build("view", {"rankfeat": {"blocks": 4}}).objection(network)
    assert build("view", {"rankfeat": {"blocks": 3}}).objection(network) == ""
    flat = build("network", {"mlp": {"hidden": [8, 8]}}, Task("image", (1, 8, 8), 3, (0.0,), (1.0,)))
    assert "hands on (8,) per sample" in build("view", "rankfeat").objection(flat)
    assert build("view", "stages").objection(flat) == ""
    assert not network.training
