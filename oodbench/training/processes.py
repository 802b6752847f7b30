"""Several processes that train one network together, one for each GPU, as torchrun starts them. Alone, all of
this does nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from oodbench.core.errors import UserError, reason_of, shown

_T = TypeVar("_T")

_PATIENCE = timedelta(days=7)
"""How long a process waits for the others, of which the first also extracts and scores between two
trainings."""


class Parted(UserError):
    """One of several processes that train together failed by itself. The others wait for it in an exchange,
    so its process has to end, at which torchrun ends theirs."""


class Team(NamedTuple):
    """This process among those that work together: its number, and how many there are."""

    rank: int = 0
    size: int = 1

    def divides(self, count: int) -> bool:
        """Whether so many rows are shared out: at least two to each process, since batch norm cannot learn
        from one. Of fewer, every process computes all."""
        return count >= 2 * self.size

    def share(self, rows: Tensor) -> Tensor:
        """This process's rows of a batch: every `size`-th."""
        return rows[self.rank :: self.size]

    @torch.no_grad()
    def whole(self, mine: Tensor, count: int) -> Tensor:
        """All `count` rows of a batch in their order, given this process's share (or already all of them)."""
        if len(mine) == count:
            return mine
        rows = mine.new_zeros((-(-count // self.size), *mine.shape[1:]))
        rows[: len(mine)] = mine
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows)
        return torch.stack(parts, dim=1).flatten(0, 1)[:count]

    @contextlib.contextmanager
    def parting(self, *alike: type[Exception]) -> Iterator[None]:
        """A piece of work whose errors, but for those `alike` on all processes, would leave the others
        waiting: of several processes they raise Parted."""
        try:
            yield
        except alike:
            raise
        except Exception as error:
            if self.size == 1:
                raise
            raise Parted(
                f"process {self.rank} of {self.size} that train together failed: {reason_of(error)}; all of"
                " them end; run the same command again to go on"
            ) from None

    def told(self, value: _T) -> _T:
        """The first process's value, everywhere. The others wait for it."""
        if self.size == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, src=0)
        return told[0]

    def agreed(self, value: bool) -> bool:
        """The first process's answer, everywhere."""
        return bool(self.told(value))

    @torch.no_grad()
    def follow(self, tensors: Sequence[Tensor]) -> None:
        """The first process's values, in place, everywhere: one exchange for each dtype."""
        if self.size == 1:
            return
        for dtype in dict.fromkeys(t.dtype for t in tensors):
            alike = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.reshape(-1) for t in alike])
            dist.broadcast(flat, src=0)
            for mine, theirs in zip(alike, flat.split([t.numel() for t in alike]), strict=True):
                mine.copy_(theirs.view(mine.shape))


ALONE = Team()


def here() -> Team:
    """The team of the process group that this process is in; alone where there is none."""
    if dist.is_available() and dist.is_initialized():
        return Team(dist.get_rank(), dist.get_world_size())
    return Team()


def assisting() -> bool:
    """Whether torchrun started this process as another than the first."""
    return _told("WORLD_SIZE", 1) > 1 and _told("RANK", 0) > 0


def join(device: str) -> tuple[Team, str]:
    """Join the processes that torchrun started (WORLD_SIZE in the environment), if it did; and the device
    that is this one's. Raises UserError where the environment is not what torchrun makes of it."""
    size = _told("WORLD_SIZE", 1)
    if size <= 1:
        return Team(), device
    lacking = [n for n in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if n not in os.environ]
    if lacking:
        raise UserError(
            f"WORLD_SIZE is {size} in the environment, which torchrun sets together with"
            f" {' and '.join(lacking)}; start the processes by torchrun, or unset WORLD_SIZE"
        )
    own = _card(_told("LOCAL_RANK", 0)) if device == "cuda" else device
    if own.startswith("cuda"):
        torch.cuda.set_device(own)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if own.startswith("cuda") else "gloo", timeout=_PATIENCE)
    return here(), own


def _told(name: str, default: int) -> int:
    """A whole number of the environment."""
    text = os.environ.get(name, str(default))
    if not text.isascii() or not text.strip().isdigit():
        raise UserError(
            f"{name}: {shown(text)} in the environment should be a whole number, as torchrun sets it"
        )
    return int(text)


def _card(number: int) -> str:
    """The GPU of this process among those of its host."""
    here_are = torch.cuda.device_count()
    if number >= here_are:
        raise UserError(
            f"torchrun started {number + 1} processes or more on this host, which has {here_are} GPUs; start"
            f" one for each: `torchrun --nproc-per-node {max(here_are, 1)} ...`"
        )
    return f"cuda:{number}"


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
