"""From a network and a set to the tensors of its Outputs, batch by batch. Nothing to the right of this stage
sees a network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.network import Network
from oodbench.core.scorer import View
from oodbench.data.reading import batches


def outputs_of(
    network: Network,
    samples: Samples,
    geometry: Geometry,
    *,
    size: int = 256,
    device: str | torch.device = "cpu",
) -> Iterator[dict[str, Tensor]]:
    """Per batch: ``logits`` (B, C), ``features`` (B, D), ``labels`` (B,), and ``extras.<name>`` for each
    further head.

    All are float32 but the int64 labels. The network is put in evaluation mode on `device`; its parameters
    are not changed."""
    network = network.to(device).eval()
    done = 0
    for inputs in batches(samples, geometry, size, device):
        with torch.inference_mode():
            features = network.features(inputs)
            rows = {"logits": network.head(features).float(), "features": features.float()}
            rows |= {f"extras.{name}": head(features).float() for name, head in network.heads.items()}
        yield rows | {"labels": samples.labels[done : done + len(inputs)]}
        done += len(inputs)


def extract_view(
    network: Network,
    view: View,
    samples: Samples,
    geometry: Geometry,
    *,
    seed: int,
    size: int = 128,
    device: str | torch.device = "cpu",
) -> Iterator[dict[str, Tensor]]:
    """Per batch: the view's extras by name, after `view.prepare`. Randomness is seeded by the run's seed and
    the batch's place."""
    network = network.to(device).eval()
    for number, inputs in enumerate(batches(samples, geometry, size, device)):
        rng = torch.Generator(device=device).manual_seed(seed * 1_000_003 + number)
        extras = view(network, inputs, rng)
        yield {
            name: rows.detach().float() if rows.is_floating_point() else rows.detach()
            for name, rows in extras.items()
        }
