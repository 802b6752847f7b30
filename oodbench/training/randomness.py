"""Where random numbers come from: looked at twice, and drawn by what knows only torch's global generator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions import Dirichlet


class Randomness:
    """The state of everything a loss may draw from, so that the same batch can be looked at twice."""

    def __init__(self, rng: torch.Generator) -> None:
        self.rng, self.of_batch, self.of_cpu = rng, rng.get_state(), torch.get_rng_state()
        self.of_device = torch.cuda.get_rng_state(rng.device) if rng.device.type == "cuda" else None

    def restore(self) -> None:
        """Put every generator back to the state that was seen."""
        self.rng.set_state(self.of_batch)
        torch.set_rng_state(self.of_cpu)
        if self.of_device is not None:
            torch.cuda.set_rng_state(self.of_device, self.rng.device)


@contextlib.contextmanager
def drawing_from(rng: torch.Generator) -> Iterator[None]:
    """Inside, what would draw from torch's global generator of the device of `rng` draws from `rng`; the
    global one is left as it was. For torch.distributions, which accept no generator."""
    cuda = rng.device.type == "cuda"
    with torch.random.fork_rng(devices=[rng.device] if cuda else []):
        if cuda:
            torch.cuda.set_rng_state(rng.get_state(), rng.device)
        else:
            torch.set_rng_state(rng.get_state())
        yield
        rng.set_state(torch.cuda.get_rng_state(rng.device) if cuda else torch.get_rng_state())


@contextlib.contextmanager
def apart(rank: int, device: torch.device) -> Iterator[None]:
    """Inside, each of several processes whose generators agree draws numbers of its own from torch's global
    generators. Afterwards they agree again: moved on where somebody drew, else as they were."""
    before = _states(device)
    seed = int(torch.randint(2**62, ()))
    moved = _states(device)
    torch.manual_seed(seed + rank)
    seeded = _states(device)
    yield
    drawn = any(not torch.equal(a, b) for a, b in zip(seeded, _states(device), strict=True))
    cpu, *cuda = moved if drawn else before
    torch.set_rng_state(cpu)
    for state in cuda:
        torch.cuda.set_rng_state(state, device)


def _states(device: torch.device) -> list[Tensor]:
    """Of the global generators: the CPU's, and the device's where it has one."""
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


def dirichlet(concentration: Tensor, rng: torch.Generator | None) -> Tensor:
    """A draw from Dirichlet(concentration), (..., K), which sums to one over its last dimension. `rng` is on
    the same device; None is torch's global generator."""
    with contextlib.nullcontext() if rng is None else drawing_from(rng):
        return Dirichlet(concentration, validate_args=False).sample()
