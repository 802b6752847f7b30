"""A network's body shared out over the processes of a team.

Each process holds the whole batch and computes the body on its share of it. The features of all are gathered,
with their gradient, so that what follows (heads, losses, queues, batch statistics of a method) sees the whole
batch on every process and is that of one process alone. No method knows of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.training.processes import Team
from oodbench.training.randomness import apart


@contextlib.contextmanager
def shared(network: Network, team: Team, synchronise: bool = False) -> Iterator[None]:
    """While inside, the body computes the features of this process's rows only, and gives those of all rows.

    The loss must be the same on all processes, and their gradients be averaged: then each is that of the
    whole batch. Of rows too few to share every process computes all. What the body draws (dropout) each
    process draws for itself.

    Args:
        network: whose body is shared out.
        team: of more than one process.
        synchronise: whether the body's batch norm has the statistics of the whole batch; else each process
            those of its share.

    Raises:
        UserError: a batch norm that cannot be synchronised."""
    body, plain, own = network.body, network.body.forward, network.body.__dict__.get("forward")
    norms = _synchronised(body, team) if synchronise else {}

    def forward(x: Tensor) -> Tensor:
        if not team.divides(len(x)):
            return plain(x)
        with apart(team.rank, x.device), _running(norms):
            features = plain(_Mine.apply(x, team))
        return _Whole.apply(features, team, len(x))

    body.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        body.__dict__.pop("forward")
        if own is not None:
            body.forward = own  # type: ignore[method-assign]


class _Mine(torch.autograd.Function):
    """This process's rows. Backward: the gradient of all rows, from everybody's."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, team: Team) -> Tensor:
        ctx.team, ctx.count = team, len(rows)
        return team.share(rows).clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.team.whole(gradient, ctx.count) / ctx.team.size, None


class _Whole(torch.autograd.Function):
    """All rows. Backward: the gradient of this process's rows, times the number of processes, by which it is
    divided again where gradients of all processes are averaged."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, team: Team, count: int) -> Tensor:
        ctx.team = team
        return team.whole(mine, count)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return ctx.team.share(gradient) * ctx.team.size, None, None


# ---------------------------------------------------------------- batch norm over all processes

_Forward = Callable[[Tensor], Tensor]


def _synchronised(body: nn.Module, team: Team) -> dict[_BatchNorm, _Forward]:
    """Each batch norm of a body with a forward that has the statistics of all processes."""
    norms = [m for m in body.modules() if isinstance(m, _BatchNorm) and type(m) is not nn.SyncBatchNorm]
    other = [m for m in norms if type(m) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)]
    if other:
        raise UserError(
            f"recipe: sync_batchnorm knows torch's batch norm, and the network has {type(other[0]).__name__};"
            " leave it out, or take another network"
        )
    return {norm: _over_all(norm, team) for norm in norms}


def _over_all(norm: _BatchNorm, team: Team) -> _Forward:
    plain = norm.forward
    twin = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # holds the same parameters and buffers

    @torch.compiler.disable
    def forward(x: Tensor) -> Tensor:
        if not norm.training and norm.running_mean is not None:
            return plain(x)
        if x.device.type == "cpu":  # where torch's own does not run
            return _normalised(norm, x, team)
        twin.train()
        return twin(x)

    return forward


@contextlib.contextmanager
def _running(norms: dict[_BatchNorm, _Forward]) -> Iterator[None]:
    """While inside, modules have these forwards in place of their own."""
    for norm, forward in norms.items():
        norm.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for norm in norms:
            norm.__dict__.pop("forward")


def _normalised(norm: _BatchNorm, x: Tensor, team: Team) -> Tensor:
    """What torch's SyncBatchNorm gives in training, on a CPU: mean and variance of all processes' rows."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    axes = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    own = wide.new_tensor([x.numel() / x.shape[1]])
    sums = _Sum.apply(torch.cat([wide.sum(axes), own]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    apart_from = wide - mean.view(shape)
    var = _Sum.apply(apart_from.square().sum(axes)) / count
    if norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        share = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean.detach().to(norm.running_mean.dtype), share)
        norm.running_var.lerp_((var.detach() * count / (count - 1)).to(norm.running_var.dtype), share)
    out = apart_from * (var + norm.eps).rsqrt().view(shape)
    if norm.weight is not None:
        out = out * norm.weight.view(shape) + norm.bias.view(shape)
    return out.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes, and of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient
