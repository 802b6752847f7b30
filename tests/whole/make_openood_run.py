"""Makes tests/whole/openood_run.npz: what OpenOOD's own Evaluator says of the folder and the ResNet-18 of
openood_folder.py. Run it with the path of a checkout of OpenOOD, with what it imports installed (what is
stored is of its main in December 2025, commit 3c35632, on the CPU):

    python -m tests.whole.make_openood_run OPENOOD tests/whole/openood_run.npz

Its code runs as it is: `.cuda()` is the identity, nothing is downloaded, and packages of methods that are not
asked about may lack. Its files of parameters are written anew where the folder is too small for them; the
grids that it searches are its own. Stored are the network's head (a ridge regression of the training
features) and the statistics of its batch normalisation, the metrics of every set, and the parameters that
its search chose."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from tests.whole.openood_folder import CLASSES, body_weights, write_folder

FIXED: Mapping[str, Mapping[str, Any]] = {
    "msp": {}, "mls": {}, "klm": {}, "mds": {}, "rmds": {}, "gradnorm": {},
    "ebo": {"temperature": 1},
    "gen": {"gamma": 0.1, "M": 100},
    "knn": {"K": 20},
    "vim": {"dim": 32},
    "react": {"percentile": 90},
    "ash": {"percentile": 80},
    "scale": {"percentile": 85},
    "she": {"metric": "inner_product"},
    "dice": {"p": 90},
    "fdbd": {"distance_as_normalizer": True},
    "nci": {"alpha": 0.0001},
    "relation": {"pow": 1},
    "nnguide": {"K": 20, "alpha": 0.01},
    "odin": {"temperature": 1, "noise": 0.0028},
}  # fmt: skip
"""Postprocessors that are asked with these parameters, and search nothing."""
SEARCHED = ("gen", "react", "ash", "scale", "fdbd", "nci", "relation", "vra")
"""Those that are asked a second time, and search the grids of their own files."""


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules without content in the place of those that are not installed."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        absent = name.partition(".")[0] in self.names
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec: Any) -> types.ModuleType:
        made = types.ModuleType(spec.name)
        made.__getattr__ = _any_class  # type: ignore[method-assign]
        return made

    def exec_module(self, module: types.ModuleType) -> None:
        module.__path__ = []


def _any_class(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def their_api(checkout: Path) -> tuple[Any, Any]:
    """OpenOOD's Evaluator and its networks."""
    absent = _Absent()
    sys.meta_path.append(absent)
    sys.path.insert(0, str(checkout))
    for kind in (Tensor, nn.Module):
        kind.cuda = lambda self, *_: self  # type: ignore[assignment, method-assign]
    while True:
        try:
            api = importlib.import_module("openood.evaluation_api")
            break
        except ModuleNotFoundError as error:
            name = str(error.name).partition(".")[0]
            if name in ("openood", *absent.names):
                raise
            absent.names.add(name)
            for loaded in [m for m in sys.modules if m.startswith("openood")]:
                del sys.modules[loaded]
    print("not installed, and not asked about:", ", ".join(sorted(absent.names)) or "nothing")
    sys.modules["openood.evaluation_api.evaluator"].data_setup = lambda root, name: None  # type: ignore[attr-defined]
    sys.modules["openood.evaluation_api.datasets"].DATA_INFO["cifar10"]["csid"]["datasets"] = []  # type: ignore[attr-defined]
    return api.Evaluator, importlib.import_module("openood.networks")


class Run:
    """The folder, the network, and OpenOOD's evaluator of both."""

    def __init__(self, checkout: Path, root: Path) -> None:
        self.evaluator, networks = their_api(checkout)
        self.checkout, self.root = checkout, root
        write_folder(root)
        self.net = networks.ResNet18_32x32(num_classes=CLASSES)
        shapes = {k: tuple(v.shape) for k, v in self.net.state_dict().items()}
        self._set({k: torch.from_numpy(v) for k, v in body_weights(shapes).items()})
        self._fit()

    def _set(self, weights: Mapping[str, Tensor]) -> None:
        self.net.load_state_dict({**self.net.state_dict(), **weights})

    def _fit(self) -> None:
        """Statistics of the batch normalisation in one pass, then the head."""
        made = self.fixed("msp")
        batches = [(b["data"], b["label"]) for b in made.dataloader_dict["id"]["train"]]
        x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
        norms = [m for m in self.net.modules() if isinstance(m, nn.BatchNorm2d)]
        for m in norms:
            m.momentum = None  # the mean over the passes, of which there is one
        self.net.train()
        with torch.no_grad():
            self.net(x)
        for m in norms:
            m.num_batches_tracked.zero_()
        self.net.eval()
        with torch.no_grad():
            f = self.net(x, return_feature=True)[1].double()
        mean = f.mean(dim=0)
        a, due = f - mean, torch.nn.functional.one_hot(y, CLASSES).double() - 1 / CLASSES
        ridge = 0.1 * torch.trace(a.T @ a) / len(a) * torch.eye(len(mean), dtype=torch.float64)
        weight = 10 * torch.linalg.solve(a.T @ a + ridge, a.T @ due).T
        self._set({"fc.weight": weight.float(), "fc.bias": -(weight @ mean).float()})

    def _ask(self, name: str, config: str) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "postprocessors", f"{name}.yml")
            file.parent.mkdir()
            file.write_text(config)
            self.net.eval()
            return self.evaluator(
                self.net, "cifar10", data_root=str(self.root), config_root=folder, postprocessor_name=name,
                batch_size=200, num_workers=0,
            )  # fmt: skip

    def fixed(self, name: str) -> Any:
        """Asked with the parameters of FIXED."""
        post: dict[str, Any] = {"name": name, "APS_mode": False}
        if FIXED[name]:
            post |= {"postprocessor_args": dict(FIXED[name]), "postprocessor_sweep": {}}
        return self._ask(name, yaml.safe_dump({"postprocessor": post}))

    def searched(self, name: str) -> Any:
        """Asked as its own file says, which it searches."""
        file = self.checkout / "configs" / "postprocessors" / f"{name}.yml"
        return self._ask(name, file.read_text())

    def weights(self) -> dict[str, np.ndarray]:
        """What `body_weights` does not give."""
        state = self.net.state_dict()
        return {k: v.numpy() for k, v in state.items() if k.startswith("fc.") or "running" in k}


def _gap(made: Any) -> float:
    """The smallest difference of an ID and an OOD confidence, over the range of all: what rounding must stay
    below so that ranks are kept."""
    inside = made.scores["id"]["test"][1].astype(np.float64)
    ood = [s[1] for shift in ("near", "far") for s in made.scores["ood"][shift].values()]
    outside = np.concatenate(ood).astype(np.float64)
    range_ = np.ptp(np.concatenate([inside, outside]))
    apart = np.abs(inside[:, None] - outside)
    return float(apart[apart > 0].min() / range_)


def main(checkout: str, target: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(checkout).resolve(), Path(folder, "data"))
        arrays, chosen = {f"weights.{k}": v for k, v in run.weights().items()}, {}
        for name in FIXED:
            made = run.fixed(name)
            table = made.eval_ood(progress=False)
            arrays[f"fixed.{name}"] = table.to_numpy()
            print("FIXED", name, f"smallest gap {_gap(made):.1e}")
        for name in SEARCHED:
            made = run.searched(name)
            table = made.eval_ood(progress=False)
            arrays[f"searched.{name}"] = table.to_numpy()
            chosen[name] = made.postprocessor.get_hyperparam()
            print("SEARCHED", name, chosen[name], f"smallest gap {_gap(made):.1e}")
        arrays["sets"], arrays["metrics"] = np.array(table.index.tolist()), np.array(table.columns.tolist())
        arrays["chosen"] = np.array(json.dumps(chosen))
    np.savez_compressed(target, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
