"""Makes tests/whole/openood.npz: what OpenOOD's own postprocessors say of a small network. Run it with the
path of a checkout of OpenOOD (what is stored is of its main in December 2025, commit 3c35632):

    python -m tests.whole.make_openood OPENOOD tests/whole/openood.npz

Their classes run as they are, on the CPU: `.cuda()` is the identity, and libmr is pytorch-ood's translation.
The network is trained here. Behind its last convolution is a leaky ReLU, so that features have both signs;
the rows of its head sum to zero, as those of logistic regression do. Images are normalised by deviations that
differ by channel, or by 0.5, which is what theirs assumes of data sets that it does not know."""

from __future__ import annotations

import importlib
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

CLASSES, SIDE, WIDTH = 4, 6, 100
UNEVEN = ([0.45, 0.35, 0.4], [0.12, 0.25, 0.45])
HALF = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
MEANS = {"feature_type_list": "mean", "alpha_list": 1, "reduce_dim_list": "none"}
"""How mds_ensemble takes each layer."""


def stages() -> tuple[nn.Sequential, nn.Sequential]:
    """The body before its last stage, and that stage: (B, 3, 6, 6) to (B, 128, 6, 6)."""
    first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    return first, nn.Sequential(nn.Conv2d(8, WIDTH, 3, padding=1), nn.LeakyReLU(0.1))


class Theirs(nn.Module):
    """The network behind the names that OpenOOD's postprocessors use."""

    feature_size = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.layer3, self.layer4 = stages()
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(WIDTH, CLASSES)

    def intermediate_forward(self, x: Tensor, layer_index: int) -> Tensor:
        return self.layer3(x) if layer_index == 3 else self.layer4(self.layer3(x))

    def forward(self, x: Tensor, return_feature: bool = False, return_feature_list: bool = False) -> Any:
        early = self.layer3[:2](x)
        middle = self.layer3[2:](early)
        late = self.layer4(middle)
        feature = self.avgpool(late).flatten(1)
        if return_feature_list:
            return self.fc(feature), [early, middle, late]
        return (self.fc(feature), feature) if return_feature else self.fc(feature)

    def get_fc(self) -> tuple[np.ndarray, np.ndarray]:
        return self.fc.weight.detach().numpy(), self.fc.bias.detach().numpy()

    def get_fc_layer(self) -> nn.Linear:
        return self.fc


class OneLayer(nn.Module):
    """The network whose only feature map is its penultimate feature."""

    def __init__(self, network: Theirs) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, return_feature_list: bool = False) -> Any:
        logits, feature = self.network(x, return_feature=True)
        return logits, [feature[:, :, None, None]]


def images(count: int, seed: int, ood: bool = False) -> tuple[Tensor, Tensor]:
    """uint8 images (N, 3, 6, 6) of one bright stripe, whose place and colour tell the class, and labels."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    x = 0.5 * torch.rand(count, 3, SIDE, SIDE, generator=rng)
    for i, y in enumerate(labels.tolist()):
        if ood:
            x[i, :, :, y + 1] += 0.4 * torch.rand(3, 1, generator=rng)
        else:
            x[i, y % 3, y + 1] += 0.15 + 0.35 * torch.rand((), generator=rng)
    return (255 * x.clamp(0, 1)).round().to(torch.uint8), labels


def normalised(x: Tensor, statistics: tuple[list[float], list[float]]) -> Tensor:
    mean, std = (torch.tensor(s).view(3, 1, 1) for s in statistics)
    return (x.float() / 255 - mean) / std


def fit(net: Any, seed: int) -> None:
    """A few steps of Adam on the training images, shifted by a pixel at random."""
    x, y = images(240, 1)
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-4)
    for _ in range(150):
        index = torch.randint(0, len(x), (64,), generator=rng)
        a, b = torch.randint(0, 3, (2,), generator=rng).tolist()
        shifted = pad(normalised(x[index], UNEVEN), (1, 1, 1, 1))[:, :, a : a + SIDE, b : b + SIDE]
        optimizer.zero_grad()
        cross_entropy(net(shifted), y[index]).backward()
        optimizer.step()


class Batches:
    """As much of a DataLoader as theirs reads; it is its own iterator, of which theirs takes the length."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y, self.batch_size, self.dataset = x, y, 50, SimpleNamespace(name="set")
        self.done = 0

    def __iter__(self) -> Batches:
        self.done = 0
        return self

    def __next__(self) -> dict[str, Tensor]:
        rows = slice(self.done, self.done + self.batch_size)
        self.done = rows.stop
        if rows.start >= len(self.x):
            raise StopIteration
        return {"data": self.x[rows].clone(), "data_aux": self.x[rows].clone(), "label": self.y[rows]}

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)


def their_modules(checkout: Path) -> Callable[[str], Any]:
    """Imports single files of a checkout, whose packages import what a CPU does not have."""
    from pytorch_ood.detector.openmax.libnotmr import LibNotMR

    class MR(LibNotMR):
        def fit_high(self, inputs: np.ndarray, size: int) -> None:
            self.tailsize = size
            super().fit_high(inputs)

    for name in ("", ".postprocessors", ".networks", ".preprocessors", ".utils"):
        package = f"openood{name}"
        module = types.ModuleType(package)
        module.__path__ = [str(checkout / package.replace(".", "/"))]
        sys.modules[package] = module
    sys.modules["openood.utils.comm"] = types.ModuleType("openood.utils.comm")
    sys.modules["openood.utils"].comm = sys.modules["openood.utils.comm"]  # type: ignore[attr-defined]
    sys.modules["libmr"] = types.ModuleType("libmr")
    sys.modules["libmr"].MR = MR  # type: ignore[attr-defined]
    for kind in (Tensor, nn.Module):
        kind.cuda = lambda self, *_: self  # type: ignore[assignment, method-assign]
    torch.cuda.FloatTensor = torch.FloatTensor  # type: ignore[attr-defined, misc]
    info = importlib.import_module("openood.postprocessors.info")
    transform = importlib.import_module("openood.preprocessors.transform")
    for name, statistics in (("uneven", UNEVEN), ("half", HALF)):
        info.num_classes_dict[name], transform.normalization_dict[name] = CLASSES, statistics
    return lambda name: importlib.import_module(f"openood.{name}")


def config(dataset: str = "uneven", **arguments: Any) -> SimpleNamespace:
    post = SimpleNamespace(postprocessor_args=SimpleNamespace(**arguments), postprocessor_sweep=None)
    return SimpleNamespace(dataset=SimpleNamespace(name=dataset), postprocessor=post)


class Reference:
    """Scores of the test images, by postprocessor."""

    def __init__(self, checkout: Path) -> None:
        self.get = their_modules(checkout)
        torch.manual_seed(0)
        self.net = Theirs()
        fit(self.net, 0)
        with torch.no_grad():
            self.net.fc.weight -= self.net.fc.weight.mean(dim=0)
        self.net.eval()
        x, y = images(240, 1)
        right = self.net(normalised(x, UNEVEN)).argmax(dim=1) == y
        self.train, self.labels = (
            x[right],
            y[right],
        )  # theirs bounds Gram matrices by label, ours by prediction
        self.val = images(60, 2)
        self.test = torch.cat([images(40, 3)[0], images(30, 4, ood=True)[0]])

    def _loaders(self, statistics: Any = UNEVEN) -> dict[str, Batches]:
        return {
            "train": Batches(normalised(self.train, statistics), self.labels),
            "val": Batches(normalised(self.val[0], statistics), self.val[1]),
            "test": Batches(normalised(self.val[0], statistics), self.val[1]),
        }

    def _score(self, made: Any, net: Any, statistics: Any = UNEVEN, setup: bool = True) -> np.ndarray:
        """Minus their confidence, in batches of 50."""
        if setup:
            made.setup(net, self._loaders(statistics), {})
        parts = [made.postprocess(net, x)[1] for x in normalised(self.test, statistics).split(50)]
        return -torch.cat([p.detach().double().flatten() for p in parts]).numpy()

    def scores(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        odin = self.get("postprocessors.odin_postprocessor").ODINPostprocessor
        for name, t, e in (("odin", 1000, 0.0014), ("odin_t1", 1, 0.0028)):
            found[name] = self._score(odin(config(temperature=t, noise=e)), self.net)
        for letter in "al":
            found[f"adascale_{letter}"] = self._adascale(letter)
        rankfeat = self.get("postprocessors.rankfeat_postprocessor").RankFeatPostprocessor
        found["rankfeat"] = self._score(rankfeat(config(accelerate=False, temperature=1)), self.net)
        openmax = self.get("postprocessors.openmax_postprocessor").OpenMax
        found["openmax"] = self._score(openmax(config()), self.net)
        found |= self._gram() | self._ensembles() | self._godin()
        vim = self.get("postprocessors.vim_postprocessor").VIMPostprocessor
        found["vim"] = self._score(vim(config(dim=32)), self.net)
        residual = self.get("postprocessors.residual_postprocessor").ResidualPostprocessor
        found["residual"] = self._score(residual(config(dim=32)), self.net)
        return found

    def _adascale(self, letter: str) -> np.ndarray:
        net = getattr(self.get("networks.adascale_net"), f"AdaScale{letter.upper()}Net")(self.net)
        arguments = config(percentile=[75, 85], k1=5, k2=1, lmbda=10, o=0.05)
        made = self.get("postprocessors.adascale_postprocessor").AdaScalePostprocessor(arguments)
        made.setup(net, self._loaders(), {})
        made.set_hyperparam([[75, 85], 5, 1, 10, 0.05])
        return self._score(made, net, setup=False)

    def _gram(self) -> dict[str, np.ndarray]:
        made = self.get("postprocessors.gram_postprocessor").GRAMPostprocessor(config(powers=[1, 2, 3, 4, 5]))
        random.seed(0)
        scores = self._score(made, self.net)
        random.seed(0)  # which training images bounded the range, as theirs draws them: by class, as met
        kept = np.ones(len(self.labels), dtype=bool)
        for c in dict.fromkeys(self.labels.tolist()):
            own = np.nonzero(self.labels.numpy() == c)[0]
            kept[own[random.sample(range(len(own)), int(0.1 * len(own)))]] = False
        return {"gram": scores, "gram.kept": kept}

    def _ensembles(self) -> dict[str, np.ndarray]:
        post = self.get("postprocessors.mds_ensemble_postprocessor").MDSEnsemblePostprocessor
        arguments: dict[str, Any] = {k: [v] for k, v in MEANS.items()}
        three = {k: 3 * v for k, v in arguments.items()}
        one = OneLayer(self.net)
        return {
            "mds_ensemble": self._score(post(config(noise=0.0, **three)), self.net),
            "mds_noise": self._score(post(config(noise=0.0014, **arguments)), one),
            "mds_noise_half": self._score(post(config("half", noise=0.0014, **arguments)), one, HALF),
        }

    def _godin(self) -> dict[str, np.ndarray]:
        net = self.get("networks.godin_net").GodinNet(Theirs(), WIDTH, CLASSES)
        fit(net, 1)
        self.godin = net.eval()
        post = self.get("postprocessors.godin_postprocessor").GodinPostprocessor
        made = post(config(score_func="h", noise_magnitude=0.0025))
        met: list[Tensor] = []
        hook = net.h.register_forward_hook(lambda *call: met.append(call[2].detach()))
        scores = self._score(made, net, setup=False)
        hook.remove()
        # of every two passes the second is of the moved images
        return {"godin": scores, "godin_h": -torch.cat(met[1::2]).amax(dim=1).double().numpy()}


def main(checkout: str, target: str) -> None:
    torch.set_num_threads(1)
    made = Reference(Path(checkout))
    arrays: dict[str, Any] = {f"openood.{k}": v for k, v in made.scores().items()}
    arrays |= {"train": made.train.numpy(), "labels": made.labels.numpy().astype(np.int8)}
    arrays |= {"val": made.val[0].numpy(), "test": made.test.numpy()}
    arrays |= {f"net.{k}": v.numpy() for k, v in made.net.state_dict().items()}
    arrays |= {f"godin.{k}": v.numpy() for k, v in made.godin.state_dict().items()}
    np.savez_compressed(target, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
