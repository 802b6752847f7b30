"""Several processes that train one network together, one for each GPU, as torchrun starts them. Alone, all of
this does nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from oodbench.core.errors import UserError

_PATIENCE = timedelta(days=7)
"""How long a process waits for the others, of which the first also extracts and scores between two
trainings."""


class Team(NamedTuple):
    """This process among those that work together: its number, and how many there are."""

    rank: int = 0
    size: int = 1

    def share(self, index: Tensor) -> Tensor:
        """This process's samples of a batch: every `size`-th."""
        return index[self.rank :: self.size]

    def agreed(self, value: bool) -> bool:
        """The first process's value, everywhere. The others wait for it."""
        if self.size == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, src=0)
        return bool(told[0])

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    @torch.no_grad()
    def add_gradients(self, network: nn.Module) -> None:
        """Every gradient becomes the sum over all processes; one that only some have counts as zero for the
        others."""
        if self.size == 1:
            return
        parameters = [p for p in network.parameters() if p.requires_grad]
        has = torch.tensor(
            [p.grad is not None for p in parameters], dtype=torch.float32, device=parameters[0].device
        )
        dist.all_reduce(has)
        parameters = [p for p, n in zip(parameters, has.tolist(), strict=True) if n]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        for p, g, total in zip(parameters, gradients, self._at_once(gradients, dist.all_reduce), strict=True):
            p.grad = g.copy_(total)

    @torch.no_grad()
    def follow(self, tensors: Sequence[Tensor]) -> None:
        """The first process's values, in place, everywhere."""
        if self.size > 1 and tensors:
            for mine, theirs in zip(
                tensors, self._at_once(tensors, lambda t: dist.broadcast(t, src=0)), strict=True
            ):
                mine.copy_(theirs)

    @staticmethod
    def _at_once(tensors: Sequence[Tensor], exchange: Callable[[Tensor], object]) -> list[Tensor]:
        """Tensors through one exchange for each dtype instead of one for each tensor, in the order given."""
        done: list[Tensor] = list(tensors)
        for dtype in dict.fromkeys(t.dtype for t in tensors):
            places = [i for i, t in enumerate(tensors) if t.dtype == dtype]
            flat = torch.cat([tensors[i].reshape(-1) for i in places])
            exchange(flat)
            for i, part in zip(places, flat.split([tensors[i].numel() for i in places]), strict=True):
                done[i] = part.view(tensors[i].shape)
        return done


ALONE = Team()


def here() -> Team:
    """The team of the process group that this process is in; alone where there is none."""
    if dist.is_available() and dist.is_initialized():
        return Team(dist.get_rank(), dist.get_world_size())
    return Team()


def assisting() -> bool:
    """Whether torchrun started this process as another than the first."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ.get("RANK", "0")) > 0


def join(device: str) -> tuple[Team, str]:
    """Join the processes that torchrun started (WORLD_SIZE in the environment), if it did; and the device
    that is this one's."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team(), device
    own = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    if own.startswith("cuda"):
        torch.cuda.set_device(own)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if own.startswith("cuda") else "gloo", timeout=_PATIENCE)
    return here(), own


@contextlib.contextmanager
def together() -> Iterator[None]:
    """All work of a process that may `join` others. At the end of the block it leaves them, if it joined them
    inside: a process that ends without having left its group can abort at its very end.

    The processes wait for each other before they leave, so that none takes away the store or a connection
    that another still needs. After an error nobody waits: the others may hang in another exchange."""
    joined_before = here().size > 1
    try:
        yield
        if here().size > 1 and not joined_before:
            with contextlib.suppress(RuntimeError):  # another one failed meanwhile, and says so itself
                dist.barrier()
    finally:
        if here().size > 1 and not joined_before:
            dist.destroy_process_group()


def wanted(size: int) -> Team:
    """The team of a recipe that asks for `size` processes. Raises UserError where there are not so many."""
    if size == 1:
        return Team()
    team = here()
    if team.size != size:
        raise UserError(
            f"recipe: world_size {size} needs {size} processes, here is {team.size}; start them by"
            f" `torchrun --nproc-per-node {size} -m oodbench run ...`"
        )
    return team
