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

    Derived tensors are memoised for the life of the object, so that scorers of one chunk share work without
    knowing one another.

    Args:
        logits: (N, C), float32.
        features: (N, D), float32; ``None`` for arrays without them, and asking for them is then a ValueError.
        labels: (N,), int64; -1 where the class is not known, which is the default.
        head: weight and bias of the network's head, where it is linear.
        extras: what heads and views added, by name, each (N, ...).

    Raises:
        ValueError: a tensor has another number of samples than `logits`.

    Example:
        >>> outputs = oodbench.Outputs(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        >>> len(outputs), outputs.classes, outputs.predictions
        (2, 2, tensor([0, 1]))
        >>> outputs[outputs.predictions == 1].probabilities
        tensor([[0.2689, 0.7311]])
    """

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
        """Some samples: a slice, places (int64) or a mask (bool)."""
        return self.map(lambda t: t[index])

    def to(self, device: torch.device | str) -> Outputs:
        """The same outputs on another device, the head included."""
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
        """`make()` the first time `key` is asked for, then the same object again.

        A key is a name, or a tuple of a name and what else the result depends on."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    @property
    def probabilities(self) -> Tensor:
        """softmax of the logits, (N, C), in their precision, which rounds confident samples to 1.

        Scores that must not tie take `functional.log_odds` instead."""
        return self.memo("probabilities", lambda: torch.softmax(self.logits, dim=1))

    @property
    def predictions(self) -> Tensor:
        """Predicted class, (N,)."""
        return self.memo("predictions", lambda: self.logits.argmax(dim=1))
