"""Outputs of a network with what a scorer's view adds."""

from __future__ import annotations

import torch

from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.data.contract import toy_images
from oodbench.scoring import contract


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def looked(network: Network, scorer: Scorer) -> tuple[Outputs, Outputs, Outputs]:
    """Train, validation and test outputs of the toy network with the scorer's extras."""
    view = scorer.view()
    assert view is not None
    images = [toy_images(n, seed=s) for s, n in [(1, 120), (2, 40), (3, 30)]]
    plain = [contract.extracted(network, i) for i in images]
    view.prepare(network, plain[0], plain[1])
    train, val, test = (contract.with_view(network, view, o, i) for o, i in zip(plain, images, strict=True))
    scorer.fit(train, val)
    return train, val, test
