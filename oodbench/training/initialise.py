"""A network's first weights."""

from __future__ import annotations

import torch

from oodbench.core import registry
from oodbench.core.description import SpecLike
from oodbench.core.method import Method
from oodbench.core.network import Network, Task


def fresh_weights(network: SpecLike, method: Method, task: Task, seed: int) -> Network:
    """The untrained network on the CPU, set up by the method, seeded; the global random state is left as it
    was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built: Network = registry.build("network", network, task)
        method.setup(built)
    return built
