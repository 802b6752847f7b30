"""What a network says of a set of samples: logits, features or probabilities, labels, and what a score may
ask for beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from oodbench.core.errors import BadValue, shown
from oodbench.core.network import Head

T = TypeVar("T")
_INDEX = ("torch.int64", "torch.int32", "torch.bool")
"""Types of tensors that pick samples. (Of type uint8, the same numbers would be a mask.)"""


class Outputs:
    """All that a scorer may see of one set through one network, on one device.

    Derived tensors are memoised for the life of the object, so that scorers of one chunk share work without
    knowing one another.

    Args:
        logits: (N, C), C >= 2; they become float32. Not probabilities.
        features: (N, D), likewise; ``None`` for arrays without them, and asking for them is then an error.
        labels: (N,), integers of any width; -1 where the class is not known, which is the default.
        head: weight (C, D) and bias (C,) of the network's head, where it is linear.
        extras: what heads and views added, by name, each (N, ...).

    Raises:
        ValueError: what is given is no tensor, has another type or shape, or another number of samples than
            `logits`. (Values are looked at where they are used: by `score_all`, and when arrays are read.)

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
        self.logits = _numbers("logits", logits, 2, "(N, C)")
        n, classes = self.logits.shape
        if classes < 2:
            raise BadValue(f"logits should be of at least two classes, got the shape {(n, classes)}")
        self._features = None if features is None else _numbers("features", features, 2, "(N, D)")
        self.labels = (
            torch.full((n,), -1, dtype=torch.int64, device=self.logits.device)
            if labels is None
            else class_numbers(labels)
        )
        self.extras: Mapping[str, Tensor] = _Extras(extras)
        named: dict[str, Tensor | None] = {"features": self._features, "labels": self.labels}
        named |= {f"extras[{k!r}]": v for k, v in self.extras.items()}
        wrong = [f"{name} has {len(t)}" for name, t in named.items() if t is not None and len(t) != n]
        if wrong:
            raise BadValue(f"logits has {n} samples, but {', '.join(wrong)}")
        self.head = None if head is None else _head(head, classes, self._features)
        self._memo: dict[Any, Any] = {}

    @property
    def features(self) -> Tensor:
        if self._features is None:
            raise BadValue("these outputs hold no features, only logits")
        return self._features

    @property
    def has_features(self) -> bool:
        return self._features is not None

    @property
    def required_head(self) -> Head:
        """The head, for what cannot do without: ValueError where there is none."""
        if self.head is None:
            raise BadValue("these outputs hold no head (weight and bias)")
        return self.head

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def classes(self) -> int:
        return self.logits.shape[1]

    @property
    def device(self) -> torch.device:
        return self.logits.device

    def map(self, f: Callable[[Tensor], Tensor]) -> Outputs:
        """New outputs with `f` applied to every per-sample tensor; the head is kept. What was checked when
        these were made is not checked again."""
        new = object.__new__(type(self))
        new.logits, new.labels, new.head = f(self.logits), f(self.labels), self.head
        new._features = None if self._features is None else f(self._features)
        new.extras = extras = _Extras(None)
        extras.update((name, f(t)) for name, t in self.extras.items())
        new._memo = {}
        return new

    def __getitem__(self, index: slice | Tensor) -> Outputs:
        """Some samples: a slice, places (int64) or a mask (bool)."""
        if not isinstance(index, slice) and _type(index) not in _INDEX:
            raise BadValue(
                f"outputs are indexed by a slice, or by a tensor of places (int64) or a mask (bool), got"
                f" {_type(index)}"
            )
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


class _Extras(dict[str, Tensor]):
    """Extras by name; asking for one that is not there says which are."""

    def __init__(self, extras: Any) -> None:
        if extras is not None and not isinstance(extras, Mapping):
            raise BadValue(f"extras should be {{name: tensor}}, got {_type(extras)}")
        super().__init__({name: _tensor(f"extras[{name!r}]", t) for name, t in (extras or {}).items()})

    def __missing__(self, name: str) -> Tensor:
        raise BadValue(f"these outputs hold no extra {name!r}; there: {', '.join(self) or 'none'}")


def _type(value: Any) -> str:
    """The type of a value, as errors name it."""
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def _tensor(name: str, value: Any) -> Tensor:
    """A tensor with rows."""
    if not isinstance(value, Tensor):
        raise BadValue(f"{name} should be a torch.Tensor, got {_type(value)}; torch.as_tensor makes one")
    if value.ndim == 0:
        raise BadValue(
            f"{name} should have a row for each sample, got the single value {shown(value.item())}"
        )
    return value


def as_float32(name: str, value: Tensor) -> Tensor:
    """Real numbers as float32; ValueError where finite ones are beyond it. NaN and infinity stay."""
    wide = value.float()
    if value.dtype == torch.float64 and not bool(torch.isfinite(wide.sum())):
        beyond = torch.isfinite(value) & ~torch.isfinite(wide)
        if bool(beyond.any()):
            most = float(value[beyond].abs().max())
            raise BadValue(f"{name} hold values beyond float32 (3.4e+38), up to {most:.3g}")
    return wide


def _numbers(name: str, value: Any, ndim: int, shape: str) -> Tensor:
    """A floating-point tensor of so many dimensions, as float32."""
    value = _tensor(name, value)
    if not value.is_floating_point():
        raise BadValue(f"{name} should be floating-point numbers, got {_type(value)}")
    if value.ndim != ndim or 0 in value.shape[1:]:
        raise BadValue(f"{name} should have the shape {shape}, got {tuple(value.shape)}")
    return as_float32(name, value)


def class_numbers(labels: Any) -> Tensor:
    """Labels (N,) of any integer type as int64: as they are, some types would act as a mask.

    Raises ValueError for what is no tensor of integers of one dimension."""
    labels = _tensor("labels", labels)
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise BadValue(f"labels should be integers, the numbers of the classes, got {_type(labels)}")
    if labels.ndim != 1:
        raise BadValue(f"labels should have the shape (N,), got {tuple(labels.shape)}")
    return labels.to(torch.int64)


def _head(head: Any, classes: int, features: Tensor | None) -> Head:
    """A head that fits logits and features."""
    if not isinstance(head, Head):
        raise BadValue(f"head should be oodbench.Head(weight, bias), got {_type(head)}")
    weight = _numbers("head.weight", head.weight, 2, "(C, D)")
    bias = _numbers("head.bias", head.bias, 1, "(C,)")
    due = (classes, weight.shape[1] if features is None else features.shape[1])
    if weight.shape != due:
        raise BadValue(f"head.weight should have the shape {due}, got {tuple(weight.shape)}")
    if bias.shape != due[:1]:
        raise BadValue(f"head.bias should have the shape {due[:1]}, got {tuple(bias.shape)}")
    return head if weight is head.weight and bias is head.bias else Head(weight, bias)


FEW = 5
"""Rows of logits in fewer samples may look like probabilities by chance."""


def are_probabilities(logits: Tensor) -> bool:
    """Whether what is called logits (N, C) are probabilities or percentages: at least 5 rows, no value
    negative, and each row summing to 1 (or 100) within 0.4 %, which is half precision's rounding.

    Scores of them would be wrong without a word; log p are logits.

    Example:
        >>> p = torch.softmax(torch.randn(10, 4), dim=1)
        >>> are_probabilities(p), are_probabilities(p.log())
        (True, False)
    """
    if len(logits) < FEW or not _sum_to_a_whole(logits[:FEW]):
        return False
    return all(_sum_to_a_whole(part) for part in logits.split(1 << 16))


def _sum_to_a_whole(rows: Tensor) -> bool:
    sums = rows.sum(dim=1)
    return bool((rows >= 0).all()) and any(bool(((sums / w - 1).abs() <= 4e-3).all()) for w in (1, 100))
