"""The vision transformer for small images."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.errors import UserError
from tests.training.networks.common import parameters, task_of


def test_the_vision_transformer_has_the_size_of_vit_small() -> None:
    """Counted by hand: per block attention 4 d^2 + 4 d, perceptron 8 d^2 + 5 d, two norms 4 d; tokens,
    places, last norm, head."""
    d = 384
    with torch.device("meta"):
        network = registry.build("network", "vit-small-32", task_of((3, 32, 32), 10))
    block = (4 * d * d + 4 * d) + (8 * d * d + 5 * d) + 4 * d
    assert parameters(network) == 12 * block + (48 * d + d) + d + 65 * d + 2 * d + (10 * d + 10)


@pytest.mark.parametrize(
    ("params", "message"), [({"heads": 5}, "multiple of heads=5"), ({"patch": 5}, "multiple of patch=5")]
)
def test_sizes_that_do_not_divide_are_one_line(params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        registry.build("network", {"vit-small-32": params}, task_of((3, 64, 64)))
