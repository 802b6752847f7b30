"""A network's first weights."""

from __future__ import annotations

import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.description import SpecLike
from oodbench.core.identity import fingerprint, tensor_digest
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


def given_weights(network: SpecLike, task: Task) -> str:
    """Digest of the weights that a network brings with it (of a hub, of a file that a user's code loads);
    empty where all of them are drawn.

    They are told by what they hold: the same under two seeds, and not one constant, as biases and
    normalisations begin. Names and files do not tell: either may hold something else tomorrow. What a network
    computes (`Network.derived`) is told by what it is computed from, since rounding differs by machine."""
    (first, derived), (second, _) = (_drawn(network, task, seed) for seed in (0, 1))
    same = {k: v for k, v in first.items() if k in second and k not in derived and torch.equal(v, second[k])}
    if not derived and not any(bool((v != v.flatten()[:1]).any()) for v in same.values()):
        return ""
    held = {k: tensor_digest(v.reshape(-1).view(torch.uint8)) for k, v in same.items()}
    return fingerprint(held | derived)


def _drawn(network: SpecLike, task: Task, seed: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights under one seed, and what those that are computed come from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built: Network = registry.build("network", network, task)
    return dict(built.state_dict()), built.derived
