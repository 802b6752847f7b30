"""The two doors: a user's trained weights, and a user's arrays with no network at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.registry import method


@method("checkpoint", source="oodbench's own")
class Checkpoint(Method):
    """A user's weights on a registered network or on `module`: nothing is trained. `file` is a state dict
    (.pt, .ckpt) or safetensors.

    Names may be the network's own, or those of the module as others write it (torchvision's, timm's,
    OpenOOD's `conv1`, `layer1`, `fc`): a body's tensors need no `body.`, and the one layer left over with a
    head's shapes is the head. Common wrappers (a `state_dict` or `model` entry) and prefixes (`module.`,
    `model.`, `backbone.`, `_orig_mod.`) are taken off. The file's content is the identity, not its path.
    Files are read without executing anything in them."""

    provides = "weights"

    def __init__(self, *, file: Path) -> None:
        self.file = file

    def load(self, network: Network) -> None:
        wanted = network.state_dict()
        state = _renamed(_without_prefix(_read_state(self.file), set(wanted)), wanted)
        counters = {
            k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")
        }  # old files lack them, nothing reads them
        state = counters | state
        missing, unknown = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
        wrong = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
        if missing or unknown:
            what = [f"{_some(missing)} missing"] if missing else []
            what += [f"{_some(unknown)} not in the network"] if unknown else []
            raise UserError(
                f"checkpoint {self.file}: {'; '.join(what)}; it should hold the {len(wanted)} tensors of this"
                " network"
            )
        if wrong:
            k = wrong[0]
            have, want = tuple(state[k].shape), tuple(wanted[k].shape)
            raise UserError(f"checkpoint {self.file}: {k!r} has the shape {have}, the network's has {want}")
        broken = [k for k, v in state.items() if not bool(torch.isfinite(v).all())]
        if broken:
            raise UserError(f"checkpoint {self.file}: {broken[0]!r} is not finite")
        network.load_state_dict(state)


@method("pretrained", source="oodbench's own")
class Pretrained(Method):
    """The weights that a network comes with (torchvision's, timm's, a `module` that loads its own): nothing
    is trained."""

    provides = "weights"

    def load(self, network: Network) -> None:
        pass


def _some(names: list[str], shown: int = 4) -> str:
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(repr, names[:shown])) + rest + (" is" if len(names) == 1 else " are")


def _read_state(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise UserError(f"checkpoint {file}: no such file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"checkpoint {file}: cannot be read as a state dict ({str(error).splitlines()[0]})"
        ) from None
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise UserError(
            f"checkpoint {file}: should hold a state dict {{name: tensor}}, got {type(loaded).__name__}"
        )
    return loaded


def _without_prefix(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    known = wanted | {k.removeprefix("body.") for k in wanted}
    for prefix in ("module.", "_orig_mod.", "model.", "backbone.", "net.") * 2:
        if set(state).isdisjoint(known) and any(k.startswith(prefix) for k in state):
            state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state


def _renamed(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the network's own names: a body's are found without `body.`, and one layer of a
    head's shapes is the head."""
    named = {k if k in wanted or f"body.{k}" not in wanted else f"body.{k}": v for k, v in state.items()}
    head = {k: v for k, v in wanted.items() if k.startswith("head.")}
    left = [k for k in named if k not in wanted]
    layers = {k.rpartition(".")[0] for k in left}
    if head and not set(head) & set(named):
        fits = [
            layer for layer in sorted(layers)
            if all((f"{layer}.{k[5:]}") in left and named[f"{layer}.{k[5:]}"].shape == v.shape for k,
            v in head.items())
        ]  # fmt: skip
        if len(fits) == 1:
            named = {
                f"head.{k[len(fits[0]) + 1 :]}" if k in left and k.rpartition(".")[0] == fits[0] else k: v
                for k, v in named.items()
            }
    return named
