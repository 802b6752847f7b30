"""Nearest neighbours among unit features, in blocks."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.scoring.functional.logits import wide
from oodbench.scoring.functional.streams import blocks


def normalised(features: Tensor) -> Tensor:
    """Rows over their L2 norm, float32 or wider; an all-zero row stays zero."""
    return torch.nn.functional.normalize(wide(features), dim=1)


def unit_features(outputs: Outputs) -> Tensor:
    """Features over their L2 norm, (N, D), float32 or wider; an all-zero row stays zero."""
    return outputs.memo("wide_unit_features", lambda: normalised(outputs.features))


class Bank:
    """Unit-norm training features to compare with. A copy where it fits into memory, else the mapped features
    and 1 / norm beside them."""

    COPY = 512 * 2**20
    """Bytes up to which a copy is made."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        copied = 4 * features.numel() <= self.COPY
        self.unit = torch.nn.functional.normalize(features.float(), dim=1) if copied else None
        self.scale = (
            None if copied else torch.cat([1 / f.norm(dim=1).clamp(min=1e-12) for f in blocks(features)])
        )

    def __len__(self) -> int:
        return len(self.features if self.unit is None else self.unit)

    def rows(self, index: Tensor) -> Tensor:
        """The unit features at `index`, (len(index), D)."""
        if self.unit is not None:
            return self.unit[index]
        return torch.nn.functional.normalize(
            self.features[index.to(self.features.device)].to(index.device).float(), dim=1
        )

    def product(self, unit: Tensor) -> Tensor:
        """Cosine similarities (N, len(self)) of unit features (N, D)."""
        if self.unit is not None:
            return unit @ self.unit.T
        assert self.scale is not None
        return torch.cat([unit @ f.to(unit.device).float().T for f in blocks(self.features)], dim=1).mul_(
            self.scale.to(unit.device)
        )

    def to(self, device: torch.device) -> Bank:
        """The copy on another device; mapped features stay where they are and are moved block by block."""
        if self.unit is None or self.unit.device == device:
            return self
        moved = copy.copy(self)
        moved.features, moved.unit = self.features[:0].to(device), self.unit.to(device)
        return moved


def bank(train: Outputs) -> Bank:
    """The one Bank of these training outputs, however many scorers ask for it."""
    return train.memo("bank", lambda: Bank(train.features))


def similarities(outputs: Outputs, bank: Bank) -> Tensor:
    """Cosine similarities (N, N_train) of a chunk to the training set, computed once for all scorers that
    hold the same Bank."""
    return outputs.memo(("similarities", bank), lambda: bank.product(unit_features(outputs)))
