"""A user's trained weights, and those that a network comes with."""

from __future__ import annotations

from pathlib import Path

import torch

from oodbench.core.errors import UserError, one_line
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.training.foreign_state import State, state_dicts
from oodbench.training.state_fit import Fit, beginnings, fitted


@method("checkpoint", source="oodbench's own")
class Checkpoint(Method):
    """A user's weights on a registered network or on `module`: nothing is trained. `file` is a state dict
    (.pt, .ckpt) or safetensors.

    Names may be the network's own, or those of the module as others write it (torchvision's, timm's,
    OpenOOD's `conv1`, `layer1`, `fc`): a body's tensors need no `body.`, a prefix that all share (`module.`,
    `encoder.`) is taken off, and the one layer left over with a head's shapes is the head. The state dict may
    lie inside others (`state_dict`, `model`, `ema`) beside numbers and texts; where several fit, `key` says
    which: the keys that lead to it, with dots between. `prefix` is taken off in place of the one that is
    found. With ``strict: false``, tensors that the network does not have are left out; one that it has must
    be in the file. The file's content is the identity, not its path. Files are read without executing
    anything in them."""

    provides = "weights"

    def __init__(
        self, *, file: Path, key: str | None = None, prefix: str | None = None, strict: bool = True
    ) -> None:
        self.file, self.key, self.prefix, self.strict = file, key, prefix, strict

    def check(self) -> None:
        self._there()

    def load(self, network: Network) -> None:
        network.load_state_dict(self._fit(network).state)

    def _fit(self, network: Network) -> Fit:
        """The one state dict of the file that fits. UserError where none does, or several do."""
        there, wanted = self._there(), network.state_dict()
        prefix = self.prefix and self.prefix.removesuffix(".") + "."
        fits = {place: fitted(state, wanted, prefix, self.strict) for place, state in there.items()}
        good = {place: fit for place, fit in fits.items() if not fit.wrong}
        if not good:
            place, nearest = max(fits.items(), key=lambda found: found[1].hits)
            inside = f" (at {place!r})" if place else ""
            raise UserError(f"checkpoint {self.file}{inside}: {nearest.wrong}")
        first = next(iter(good.values()))
        if any(not torch.equal(v, fit.state[k]) for fit in good.values() for k, v in first.state.items()):
            raise UserError(
                f"checkpoint {self.file}: several state dicts fit: {', '.join(map(repr, good))}; say which"
                " with `key`"
            )
        return first

    def _there(self) -> dict[str, State]:
        """The state dicts of the file that `key` and `prefix` leave. UserError where they leave none."""
        there = state_dicts(self.file)
        if self.key is not None:
            if self.key not in there:
                names = one_line(", ".join(map(repr, there)), 300)
                raise UserError(f"checkpoint {self.file}: no state dict at key {self.key!r}; there: {names}")
            there = {self.key: there[self.key]}
        if not self.prefix:
            return there
        start = self.prefix.removesuffix(".") + "."
        left = {place: s for place, s in there.items() if any(k.startswith(start) for k in s)}
        if not left:
            names = one_line(
                ", ".join(map(repr, dict.fromkeys(b for s in there.values() for b in beginnings(s)))), 300
            )
            raise UserError(
                f"checkpoint {self.file}: no tensor's name begins with the prefix {start!r}; they begin with"
                f" {names or 'none'}"
            )
        return left


@method("pretrained", source="oodbench's own")
class Pretrained(Method):
    """The weights that a network comes with (torchvision's, timm's, a `module` that loads its own): nothing
    is trained. What the weights hold is their identity."""

    provides = "weights"

    def load(self, network: Network) -> None:
        pass
