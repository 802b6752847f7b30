"""Features in half precision pass for float32 ones."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from oodbench.core import half
from oodbench.core.half import HalfRows, halved
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs

HALF = (torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 3).half()
WEIGHT = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
PLACES = torch.tensor([3, 3, 0])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[3:7], lambda x: x[PLACES], lambda x: x[x[:, 0] > 0], lambda x: x[2], lambda x: x[..., 1],
        lambda x: x.split(7)[2] + 0, lambda x: torch.cat([p * 1 for p in x.split(7)]),
        lambda x: x.chunk(3)[1].square(), lambda x: x.index_select(0, PLACES), lambda x: x.narrow(0, 3, 2),
        lambda x: x @ WEIGHT, lambda x: WEIGHT.T @ x.T, lambda x: torch.nn.functional.normalize(x, dim=1),
        lambda x: x.mean(dim=0), lambda x: x.double(), lambda x: torch.cat([x, x]), lambda x: x - x.mean(0),
        lambda x: torch.stack(list(x)), lambda x: x.clone(), lambda x: x.detach(), lambda x: 2 * x,
        lambda x: torch.from_numpy(x.numpy()), lambda x: torch.from_numpy(np.asarray(x)), lambda x: -x,
        lambda x: torch.linalg.qr(x).R, lambda x: x.to("cpu").flatten(), lambda x: x.clamp(max=1.0),
        lambda x: torch.isfinite(x), lambda x: x.float()[:5], lambda x: torch.nn.Linear.forward(_LINEAR, x),
    ],
)  # fmt: skip
def test_every_operation_is_that_on_float32(f: Callable[[Tensor], Tensor]) -> None:
    found, expected = f(HalfRows.of(HALF)), f(HALF.float())
    assert found.dtype == expected.dtype
    assert torch.equal(found + 0, expected)


_LINEAR = torch.nn.Linear(6, 2)


def test_it_says_of_itself_what_float32_says() -> None:
    x = HalfRows.of(HALF)
    assert isinstance(x, Tensor)
    said = [x.dtype, x.shape, len(x), x.ndim, x.numel(), x.device, x.is_floating_point(), x.size(1), x.dim()]
    y = HALF.float()
    assert said == [y.dtype, y.shape, len(y), y.ndim, y.numel(), y.device, True, 6, 2]


def test_nothing_is_copied_until_rows_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of it never becomes float32 when outputs are walked in chunks."""
    wide: list[int] = []
    real = half._wide
    monkeypatch.setattr(half, "_wide", lambda t: (wide.append(len(t)), real(t))[1])
    outputs = Outputs(HALF[:, :3].float(), HalfRows.of(HALF), head=Head(torch.ones(3, 6), torch.zeros(3)))
    assert torch.equal(torch.cat([part.features for part in outputs.chunks(8)]), HALF.float())
    assert wide == [8] * 6 + [2]
    assert type(outputs[:4].features) is Tensor


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.sub_(1), lambda x: operator.setitem(x, 0, 5.0), lambda x: torch.add(x, 1, out=x),
        lambda x: torch.relu_(x), lambda x: torch.nn.init.zeros_(x), lambda x: operator.isub(x, 1),
        lambda x: setattr(x, "data", torch.zeros(50, 6)), lambda x: torch.sort(x, out=(x, PLACES)),
    ],
)  # fmt: skip
def test_what_would_be_lost_is_refused(change: Callable[[Tensor], Any]) -> None:
    """A change would be made to the float32 copy."""
    with pytest.raises(ValueError, match=r"cannot be changed in place; change a `clone\(\)`"):
        change(HalfRows.of(HALF))
    assert torch.equal(torch.zeros(50, 6).copy_(HalfRows.of(HALF)), HALF.float())
    assert HalfRows.of(HALF).clone().sub_(1).equal(HALF.float() - 1)


@pytest.mark.parametrize(
    ("value", "kept"), [(65504.0, 65504.0), (65519.0, 65504.0), (1e-9, 0.0), (float("inf"), float("inf"))]
)
def test_what_half_precision_holds(value: float, kept: float) -> None:
    assert halved(torch.tensor([[value]])).item() == kept


@pytest.mark.parametrize("value", [65520.0, -1e6, 3e38])
def test_what_is_beyond_is_refused_in_one_line(value: float) -> None:
    with pytest.raises(ValueError, match=r"features up to .* are beyond half precision \(65504\)") as found:
        halved(torch.tensor([[0.5, value]]))
    assert "\n" not in str(found.value)
    assert "`store: {dtype: fp32}`" in str(found.value)


def test_rounding_is_at_most_as_said() -> None:
    x = torch.cat([torch.logspace(-9, 4, 4001, dtype=torch.float64), torch.tensor([0.0]).double()])
    off: Any = (halved(x.float()).double() - x.float().double()).abs()
    assert bool((off <= torch.maximum(x * 2.0**-11, torch.tensor(2.0**-25).double())).all())
