"""What a network says of a set of samples: logits, features or probabilities, labels, and what a score may
ask for beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from oodbench.core.network import Head

T = TypeVar("T")


class Outputs:
    """All that a scorer may see of one set through one network, on one device.

    `logits` (N, C) and `features` (N, D) float32 (`features` may be None for arrays without them), `labels`
    (N,) int64, `head` where the network's head is linear, `extras` whatever heads and views added, each (N,
    ...). Derived tensors are memoised for the life of the object, so that scorers of one chunk share work
    without knowing one another."""

    def __init__(
        self,
        logits: Tensor,
        features: Tensor | None = None,
        labels: Tensor | None = None,
        head: Head | None = None,
        extras: Mapping[str, Tensor] | None = None,
    ) -> None:
        n = len(logits)
        self.logits = logits
        self._features = features
        self.labels = (
            torch.full((n,), -1, dtype=torch.int64, device=logits.device) if labels is None else labels
        )
        self.head = head
        self.extras: Mapping[str, Tensor] = dict(extras or {})
        self._memo: dict[Any, Any] = {}
        named = {
            "features": features,
            "labels": self.labels,
            **{f"extras[{k!r}]": v for k, v in self.extras.items()},
        }
        wrong = [f"{name} has {len(t)}" for name, t in named.items() if t is not None and len(t) != n]
        if wrong:
            raise ValueError(f"logits has {n} samples, but {', '.join(wrong)}")

    @property
    def features(self) -> Tensor:
        if self._features is None:
            raise ValueError("these outputs hold no features, only logits")
        return self._features

    @property
    def has_features(self) -> bool:
        return self._features is not None

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def classes(self) -> int:
        return self.logits.shape[1]

    @property
    def device(self) -> torch.device:
        return self.logits.device

    def map(self, f: Callable[[Tensor], Tensor]) -> Outputs:
        """New outputs with `f` applied to every per-sample tensor; the head is kept."""
        extras = {name: f(t) for name, t in self.extras.items()}
        return Outputs(
            f(self.logits),
            None if self._features is None else f(self._features),
            f(self.labels),
            self.head,
            extras,
        )

    def __getitem__(self, index: slice | Tensor) -> Outputs:
        return self.map(lambda t: t[index])

    def to(self, device: torch.device | str) -> Outputs:
        moved = self.map(lambda t: t.to(device))
        moved.head = (
            None if self.head is None else Head(self.head.weight.to(device), self.head.bias.to(device))
        )
        return moved

    def chunks(self, size: int) -> Iterator[Outputs]:
        """Consecutive views of at most `size` samples."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def memo(self, key: Any, make: Callable[[], T]) -> T:
        """`make()` the first time `key` is asked for, then the same object again."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    @property
    def probabilities(self) -> Tensor:
        """softmax of the logits, (N, C)."""
        return self.memo("probabilities", lambda: torch.softmax(self.logits, dim=1))

    @property
    def predictions(self) -> Tensor:
        """Predicted class, (N,)."""
        return self.memo("predictions", lambda: self.logits.argmax(dim=1))
