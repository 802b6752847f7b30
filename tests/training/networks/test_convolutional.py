"""Networks of the literature, by their published sizes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.errors import UserError
from tests.training.networks.common import make, parameters, task_of


@pytest.mark.parametrize(
    ("name", "params", "millions", "width"),
    [  # as their papers print them
        ("wide-resnet", {"depth": 40, "width": 2}, 2.2, 128),
        ("wide-resnet", {"depth": 28, "width": 10}, 36.5, 640),
        ("densenet-bc", {"depth": 100, "growth": 12}, 0.8, 342),
    ],
)
def test_published_sizes(name: str, params: dict[str, Any], millions: float, width: int) -> None:
    with torch.device("meta"):
        network = registry.build("network", {name: params}, task_of((3, 32, 32), 10))
    assert parameters(network) / 1e6 == pytest.approx(millions, abs=0.05)
    assert network.head.weight.shape == (10, width)


def test_vgg32_is_what_the_open_set_literature_trains() -> None:
    """Hand count: nine 3x3 convolutions, scale and shift of nine batch norms, a head without bias."""
    network = make("vgg32", (3, 32, 32), classes=6)
    widths = [3, 64, 64, 128, 128, 128, 128, 128, 128, 128]
    expected = sum(9 * a * b for a, b in pairwise(widths)) + 2 * sum(widths[1:]) + 128 * 6
    assert sum(p.numel() for p in network.parameters()) == expected
    assert network.head.bias is None
    sizes = []
    for stage in network.stages:
        dict(network.named_modules())[stage].register_forward_hook(
            lambda m, i, o: sizes.append(tuple(o.shape[1:]))
        )
    network.eval()(torch.rand(1, 3, 32, 32))
    assert sizes == [(128, 16, 16), (128, 8, 8), (128, 4, 4)]
    first = network.body.block1[1].weight
    assert float(first.detach().std()) == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"wide-resnet": {"depth": 41}}, r"wide-resnet.depth: should be 6 n \+ 4"),
        ({"densenet-bc": {"depth": 4}}, r"densenet-bc.depth: should be 6 n \+ 4"),
    ],
)
def test_what_cannot_be_built_says_why_in_one_line(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as found:
        registry.build("network", spec, task_of((3, 64, 64)))
    assert "\n" not in str(found.value)
