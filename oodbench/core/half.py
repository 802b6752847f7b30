"""Features stored in half precision and read as float32, without a float32 copy of them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from oodbench.core.errors import BadValue

MOST = 65504.0
"""The largest number of half precision."""


def halved(features: Tensor) -> Tensor:
    """Features as float16, each value rounded to the nearest: by at most 2^-11 of itself, or 2^-25 where it
    is below 2^-14.

    Raises:
        ValueError: a finite value is beyond 65504. Infinity and NaN stay.
    """
    half = features.half()
    beyond = torch.isfinite(features) & ~torch.isfinite(half)
    if bool(beyond.any()):
        most = float(features[beyond].abs().max())
        raise BadValue(
            f"features up to {most:.3g} are beyond half precision ({MOST:.0f}); store them as float32:"
            " `store: {dtype: fp32}`"
        )
    return half


class HalfRows(Tensor):
    """A float32 tensor (N, ...) whose values lie in half precision, on the disk or in memory.

    Rows that are taken from it (by place, slice or mask, or in parts) are plain float32 tensors; whatever
    needs all of it at once gets a float32 copy for that one operation. So who goes through a training set in
    blocks, as scorers do, never holds it twice. Since a change would be made to a copy and lost, it is
    refused.

    Raises:
        BadValue: it should be changed in place.

    Example:
        >>> stored = HalfRows.of(torch.rand(1000, 8).half())
        >>> stored.dtype, stored[:2].dtype, type(stored[:2]).__name__
        (torch.float32, torch.float32, 'Tensor')
    """

    @staticmethod
    def of(half: Tensor) -> HalfRows:
        """`half`, float16, as it is; nothing is copied."""
        made: HalfRows = Tensor._make_subclass(HalfRows, half)
        return made

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if _changes(func, args, kwargs):
            raise BadValue(
                "features in half precision cannot be changed in place; change a `clone()` of them"
            )
        with torch._C.DisableTorchFunctionSubclass():
            if func == _DTYPE:  # equal, never the same object
                return torch.float32
            if func is _FLOAT and isinstance(args[0], HalfRows):
                return args[0]
            if func in _ABOUT:
                return func(*args, **kwargs)
            if func in _ROWS and isinstance(args[0], HalfRows):
                return _taken(func(_plain(args[0]), *_each(args[1:]), **kwargs))
            return func(*_each(args), **{name: _copied(value) for name, value in kwargs.items()})


_FLOAT, _DTYPE = Tensor.float, Tensor.dtype.__get__  # type: ignore[attr-defined]
_ABOUT = {
    Tensor.shape.__get__, Tensor.ndim.__get__, Tensor.device.__get__, Tensor.layout.__get__,  # type: ignore[attr-defined]
    Tensor.is_cuda.__get__, Tensor.requires_grad.__get__, Tensor.is_sparse.__get__,  # type: ignore[attr-defined]
    Tensor.size, Tensor.dim, Tensor.numel, Tensor.__len__, Tensor.is_floating_point, Tensor.is_complex,
    torch.numel, torch.is_floating_point, torch.is_complex, Tensor.is_contiguous, Tensor.stride,
}  # fmt: skip
"""What is asked of a tensor's shape and place, which needs no value of it."""
_ROWS = {
    Tensor.__getitem__, Tensor.index_select, Tensor.narrow, Tensor.select, Tensor.split, Tensor.chunk,
    torch.index_select, torch.narrow, torch.select, torch.split, torch.chunk,
}  # fmt: skip
"""What takes some values of it."""


def _changes(func: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> bool:
    """Whether a function would change values of its first argument, or of `out`."""
    name = func.__name__
    in_place = name in ("__setitem__", "__set__") or (name.endswith("_") and not name.endswith("__"))
    where = kwargs.get("out")
    outs = where if isinstance(where, (list, tuple)) else (where,)
    return any(isinstance(t, HalfRows) for t in (*(args[:1] if in_place else ()), *outs))


def _plain(rows: HalfRows) -> Tensor:
    return rows.as_subclass(Tensor)


def _wide(half: Tensor) -> Tensor:
    """The one place where values become float32."""
    return half.float()


def _taken(found: Any) -> Any:
    """Values that were taken, as float32; of several parts each when it is used."""
    if isinstance(found, Tensor):
        return _wide(found)
    return type(found)(HalfRows.of(part) for part in found)


def _copied(value: Any) -> Any:
    return _wide(_plain(value)) if isinstance(value, HalfRows) else value


def _each(values: Sequence[Any]) -> list[Any]:
    """Arguments with a float32 copy in the place of what lies in half precision."""
    return [type(v)(_each(v)) if type(v) in (list, tuple) else _copied(v) for v in values]
