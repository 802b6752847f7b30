"""The spectral norm of layers, against the singular values of the layer as a matrix."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from oodbench.core import registry
from tests.training.methods.common import data, gradcheck, made, value


def operator(layer: torch.nn.Module, shape: tuple[int, ...], weight: Tensor) -> Tensor:
    """A layer as a matrix, column by column."""
    columns = []
    for i in range(math.prod(shape)):
        x = torch.zeros(math.prod(shape), dtype=weight.dtype)
        x[i] = 1
        x = x.view(1, *shape)
        if isinstance(layer, torch.nn.Conv2d):
            columns.append(torch.nn.functional.conv2d(x, weight, None, layer.stride, layer.padding).flatten())
        else:
            columns.append((x @ weight.T).flatten())
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("stride", [1, 2])
def test_ddu_bounds_each_layer_by_its_largest_singular_value(stride: int) -> None:
    from oodbench.training.methods.spectral import SoftSpectralNorm

    torch.manual_seed(0)
    layer = torch.nn.Conv2d(2, 3, 3, stride, 1).double()
    largest = float(torch.linalg.matrix_norm(operator(layer, (2, 7, 6), layer.weight.detach()), 2))
    for coefficient in (0.5 * largest, 2 * largest):
        norm_of = SoftSpectralNorm(layer.float(), (2, 7, 6), coefficient).double()
        layer.double()
        for _ in range(300):
            weight = norm_of(layer.weight)
        factor = max(1.0, largest / coefficient)
        torch.testing.assert_close(weight, layer.weight / factor, rtol=1e-4, atol=1e-5)
    norm_of.eval()
    u = norm_of.u.clone()
    norm_of(layer.weight)
    assert torch.equal(u, norm_of.u)


def test_ddu_normalises_the_body_and_leaves_the_head() -> None:
    network, method = made({"ddu": {"coefficient": 0.5, "of": {"als": {"lam": 2}}}})
    network.eval()
    batch = data()
    convolutions = [m for m in network.body.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(hasattr(m, "parametrizations") for m in convolutions)
    assert network.linear_head() is not None
    als: Any = registry.build("method", {"als": {"lam": 2}})
    assert value(method.loss(network, batch)) == pytest.approx(
        value(als.criterion(network(batch.inputs), batch.labels).mean())
    )
    gradcheck(network, lambda: method.loss(network, batch), 1e-8)  # a larger step meets a kink of a ReLU
