"""A user's trained weights, and those that a network comes with."""

from __future__ import annotations

from pathlib import Path

import torch

from oodbench.core.errors import UserError
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.training.foreign_state import Fit, fitted, state_dicts


@method("checkpoint", source="oodbench's own")
class Checkpoint(Method):
    """A user's weights on a registered network or on `module`: nothing is trained. `file` is a state dict
    (.pt, .ckpt) or safetensors.

    Names may be the network's own, or those of the module as others write it (torchvision's, timm's,
    OpenOOD's `conv1`, `layer1`, `fc`): a body's tensors need no `body.`, a prefix that all share (`module.`,
    `encoder.`) is taken off, and the one layer left over with a head's shapes is the head. The state dict may
    lie inside others (`state_dict`, `model`, `ema`) beside numbers and texts; where several fit, `key` says
    which: the keys that lead to it, with dots between. The file's content is the identity, not its path.
    Files are read without executing anything in them."""

    provides = "weights"

    def __init__(self, *, file: Path, key: str | None = None) -> None:
        self.file, self.key = file, key

    def check(self) -> None:
        state_dicts(self.file)

    def load(self, network: Network) -> None:
        network.load_state_dict(self._fit(network).state)

    def _fit(self, network: Network) -> Fit:
        """The one state dict of the file that fits. UserError where none does, or several do."""
        there, wanted = state_dicts(self.file), network.state_dict()
        if self.key is not None:
            if self.key not in there:
                names = ", ".join(map(repr, there))
                raise UserError(f"checkpoint {self.file}: no state dict at key {self.key!r}; there: {names}")
            there = {self.key: there[self.key]}
        fits = {place: fitted(state, wanted) for place, state in there.items()}
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


@method("pretrained", source="oodbench's own")
class Pretrained(Method):
    """The weights that a network comes with (torchvision's, timm's, a `module` that loads its own): nothing
    is trained. What the weights hold is their identity."""

    provides = "weights"

    def load(self, network: Network) -> None:
        pass
