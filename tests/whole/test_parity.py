"""Our scores against other libraries' on the same arrays. The tables of docs/scorers.md are these: a test
compares them line by line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.network import Head, Network
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.data.contract import toy_images
from oodbench.scoring import contract
from oodbench.training.contract import toy_network, toy_task
from tests.scoring.outputs import fitted, reference_outputs, with_features, world
from tests.whole.parity import DOC, MSP, SATURATES, Row, lines_below

# ---------------------------------------------------------------- OpenOOD's, stored

OPENOOD: dict[str, Row] = {
    "msp": Row("msp", theirs=MSP, reason=SATURATES, convert=torch.expm1),
    "mls": Row("mls"),
    "ebo": Row("energy"),
    "ebo_t2": Row({"energy": {"temperature": 2}}),
    "temp_scaling": Row(
        "temperature-scaling", None, "MSP at another T", "their optimiser stops short; ours has the lower NLL"
    ),
    "gen": Row(
        {"gen": {"gamma": 0.1, "top": 5}},
        5e-3,
        reason="theirs rounds 1 - p in float32; 1e-5 where every p < 0.999",
    ),
    "klm": Row({"klm": {"fit_on": "val"}}),
    "gradnorm": Row("gradnorm"),
    "knn": Row(
        {"knn": {"k": 50}}, theirs="ours^2", reason="theirs is the squared distance", convert=torch.square
    ),
    "knn_k1": Row(
        {"knn": {"k": 1}}, theirs="ours^2", reason="theirs is the squared distance", convert=torch.square
    ),
    "nnguide": Row({"nnguide": {"k": 20}}),
    "relation": Row({"relation": {"power": 1}}),
    "mds": Row("mds"),
    "rmds": Row("rmds", 1e-4, reason="a difference of two distances, each rounded by 1e-5 in their float32"),
    "she": Row("she"),
    "fdbd": Row("fdbd"),
    "nci": Row({"nci": {"alpha": 0.001}}),
    "vim": Row(
        {"vim": {"dim": 32}},
        1e-3,
        reason="theirs takes the covariance in float32; from such a one our formula gives it to 1e-5",
    ),
    "residual": Row({"residual": {"dim": 32, "fit_on": "val"}}, 1e-3, reason="as vim"),
    "react": Row({"react": {"percentile": 90, "fit_on": "val"}}),
    "vra": Row({"vra": {"high": 90, "low": 10, "fit_on": "val"}}),
    "ash_b": Row({"ash": {"variant": "b", "percentile": 65}}),
    "scale": Row({"scale": {"percentile": 65}}),
    "dice": Row({"dice": {"percentile": 70}}),
}


@pytest.mark.parametrize("reference", OPENOOD)
def test_openood(reference: str, shared: Path) -> None:
    file, row = np.load(shared / "parity" / "digits-mlp.npz"), OPENOOD[reference]
    made = fitted(row.ours, reference_outputs(file, "train"), reference_outputs(file, "val"))
    for part in ("id_test", "ood_test"):
        ours = made.score(reference_outputs(file, part))
        theirs = -torch.from_numpy(file[f"openood.{reference}.{part}"])
        row.check(ours, theirs)
        if row.within is not None and row.within <= 1e-4:
            converted = row.convert(ours.double())
            torch.testing.assert_close(
                converted, theirs.double(), rtol=1e-4, atol=row.within * float(theirs.max() - theirs.min())
            )
        if reference == "gen":
            unsure = torch.from_numpy(file[f"{part}.logits"]).softmax(dim=1).amax(dim=1) < 0.999
            assert float((ours[unsure] - theirs[unsure]).abs().max()) <= 1e-5 * float(
                theirs.max() - theirs.min()
            )


def test_every_reference_has_its_row(shared: Path) -> None:
    file = np.load(shared / "parity" / "digits-mlp.npz")
    assert set(OPENOOD) == {name.split(".")[1] for name in file if name.startswith("openood.")}


# ---------------------------------------------------------------- pytorch-ood's, live

_HALVED = "theirs halves the distance under sums, ours means, of outer products"
POOD: dict[str, Row] = {
    "MaxSoftmax": Row("msp", theirs=MSP, reason=SATURATES, convert=torch.expm1),
    "MaxLogit": Row("mls"),
    "EnergyBased": Row({"energy": {"temperature": 2}}),
    "Entropy": Row("entropy"),
    "GEN": Row(
        {"gen": {"gamma": 0.1, "top": 4}},
        5e-3,
        "ours / 4",
        "theirs is the mean, of probabilities clamped to 1e-7",
        lambda s: s / 4,
    ),
    "TemperatureScaling": Row(
        "temperature-scaling",
        None,
        "MSP at another T",
        "theirs stops after 50 steps of LBFGS, before the optimum",
    ),
    "KLMatching": Row("klm", reason="both fitted on ID validation"),
    "OpenMax": Row(
        {"openmax": {"alpha": 3, "tail": 20}},
        5e-3,
        "sigmoid(ours)",
        "log odds of P(unknown) here. Theirs means all samples, ours correct ones (both are given these), and"
        " takes distance 0 to classes that nobody in the batch is predicted as (one of each is given);"
        " SciPy's fit against ours",
        torch.sigmoid,
    ),
    "GradNorm": Row(
        "gradnorm",
        theirs="ours / C",
        reason="theirs is the gradient of the mean of log p_c, ours of the sum",
        convert=lambda s: s / 4,
    ),
    "KNN": Row({"knn": {"k": 7}}),
    "NNGuide": Row({"nnguide": {"k": 10}}),
    "Mahalanobis": Row("mds", theirs="ours / 2N", reason=_HALVED, convert=lambda s: s / 600),
    "RMD": Row(
        "rmds",
        theirs="ours / N",
        reason="theirs takes sums, ours means, of outer products",
        convert=lambda s: s / 300,
    ),
    "GMM": Row("gmm"),
    "SHE": Row("she"),
    "fDBD": Row(
        "fdbd",
        theirs="ours / (C - 1)",
        reason="theirs is the mean over the other classes, ours OpenOOD's sum",
        convert=lambda s: s / 3,
    ),
    "NCI": Row({"nci": {"alpha": 0.01}}),
    "ViM": Row({"vim": {"dim": 6}}),
    "PNML": Row("pnml"),
    "NACUE": Row(
        {"nac": {"slope": 100.0, "fill": 5, "samples": None, "dense": "ends"}},
        reason="theirs has intervals dense at 0 and 1 and counts all samples, which are options here",
    ),
    "ReAct": Row({"react": {"percentile": 90}}),
    "ASH": Row({"ash": {"variant": "s", "percentile": 65}}, reason="b and p likewise"),
    "SCALE": Row({"scale": {"percentile": 65}}),
    "DICE": Row({"dice": {"percentile": 70}}),
    "LTS": Row({"lts": {"percentile": 75}}),
    "VRA": Row(
        {"vra": {"low": 10, "high": 95, "below": "clip", "per": "feature"}},
        reason="theirs raises low activations, which is an option here",
    ),
    "ODIN": Row({"odin": {"epsilon": 0.01, "temperature": 10}}, 1e-4, MSP, SATURATES, torch.expm1),
    "MahalanobisODIN": Row({"mds-odin": {"epsilon": 0.01}}, 1e-3, "ours / 2N", _HALVED, lambda s: s / 240),
    "MultiMahalanobis": Row(
        {"mds-layers": {"combine": "sum"}}, 1e-3, "ours / 2N", _HALVED, lambda s: s / 240
    ),
    "MCD": Row(
        {"mc-dropout": {"statistic": "mean", "passes": 30}},
        1e-5,
        MSP,
        SATURATES + "; the same random numbers given",
        torch.expm1,
    ),
    "RankFeat": Row(
        {"rankfeat": {"blocks": 1}}, 1e-4, reason="blocks 2 is the mean of the logits of two such edits"
    ),
    "MCM": Row(
        {"mcm": {"temperature": 0.5}},
        1e-5,
        MSP,
        "1 - p is taken from the cosines here and does not saturate",
        torch.expm1,
    ),
    "Gram": Row(
        {"gram": {"powers": 3}},
        1e-4,
        "ours * max p",
        "ours divides by max p as OpenOOD; given our n_l, which are of ID validation and not of a random"
        " tenth of train",
    ),
}

NOT_OURS = {
    "WeightedEBO": "reads weights that VOS trains",
    "GradUncertainty": "its paper was not read",
}
"""Their detectors that have no counterpart here."""


class Penultimate(nn.Module):
    """Features pass through as they are, so that pytorch-ood can hook them, then the head."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.features = nn.Identity()
        self.fc = nn.Linear(head.weight.shape[1], head.weight.shape[0])
        self.fc.weight.data, self.fc.bias.data = head.weight.clone(), head.bias.clone()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x.requires_grad_()))


Sets = tuple[Outputs, Outputs, Outputs]


def _zero_sum(sets: Sets) -> Sets:
    """Through a head whose rows sum to zero, as those of logistic regression do."""
    assert sets[0].head is not None
    weight, bias = sets[0].head
    head = Head(weight - weight.mean(dim=0), bias + 1)
    return tuple(Outputs(head(o.features), o.features, o.labels, head) for o in sets)  # type: ignore[return-value]


def _signed(sets: Sets) -> Sets:
    """Features of both signs, of which every sample has more above zero than below, so that ASH and SCALE
    have a positive sum to divide by."""
    shift = 0.3 * sets[0].features.mean()
    return tuple(with_features(o, o.features - shift) for o in sets)  # type: ignore[return-value]


WORLDS: dict[str, Callable[[Sets], Sets]] = {
    "as made": lambda sets: sets, "a head whose rows sum to zero": _zero_sum, "signed features": _signed,
}  # fmt: skip


def _of_arrays(detector: Any, sets: Sets) -> dict[str, Callable[[], Tensor]]:
    """Their scores of the test set, by detector."""
    train, val, test = sets
    assert train.head is not None
    model = Penultimate(train.head)
    fc, (weight, bias) = model.fc, train.head
    right = train[train.predictions == train.labels]

    def of_logits(made: Any, fit: Outputs | None = None) -> Tensor:
        return (made if fit is None else made.fit_logits(fit.logits, fit.labels)).predict_logits(test.logits)

    def of_features(made: Any) -> Tensor:
        return made.fit_features(train.features, train.labels).predict_features(test.features)

    def of_maps(made: Any) -> Tensor:
        made.fit_feature_maps(train.features[..., None, None], train.labels)
        return made.predict_feature_maps(test.features[..., None, None])

    def head(x: Tensor) -> Tensor:
        return fc(x.flatten(1))

    return {
        "MaxSoftmax": lambda: of_logits(detector.MaxSoftmax(None)),
        "MCM": lambda: detector.MCM(None, weight, temperature=0.5).predict_features(test.features),
        "MaxLogit": lambda: of_logits(detector.MaxLogit(None)),
        "EnergyBased": lambda: of_logits(detector.EnergyBased(None, t=2)),
        "Entropy": lambda: of_logits(detector.Entropy(None)),
        "GEN": lambda: of_logits(detector.GEN(None, gamma=0.1, M=4)),
        "TemperatureScaling": lambda: of_logits(detector.TemperatureScaling(None), val),
        "KLMatching": lambda: of_logits(detector.KLMatching(None), val),
        "OpenMax": lambda: (
            detector.OpenMax(None, tailsize=20, alpha=3)
            .fit_logits(right.logits, right.labels)
            .predict_logits(torch.cat([test.logits, 10 * torch.eye(4)]))[: len(test)]
        ),
        "GradNorm": (
            lambda: detector.GradNorm(fc, param_filter=lambda name: name == "weight").predict(
                test.features.clone()
            )
        ),
        "KNN": lambda: of_features(detector.KNN(None, k=7)),
        "NNGuide": lambda: of_features(detector.NNGuide(None, fc)),
        "Mahalanobis": lambda: of_features(detector.Mahalanobis(None)),
        "RMD": lambda: of_features(detector.RMD(None)),
        "GMM": lambda: of_features(detector.GMM(None)),
        "SHE": lambda: of_features(detector.SHE(None, fc)),
        "fDBD": lambda: of_features(detector.fDBD(None, fc)),
        "NCI": lambda: of_features(detector.NCI(None, fc, alpha=0.01)),
        "ViM": lambda: of_features(detector.ViM(None, 6, fc.weight, fc.bias)),
        "PNML": lambda: of_features(detector.PNML(None, fc)),
        "NACUE": lambda: (
            detector.NACUE(model, layers=[model.features], m_bins=50, alpha=100.0, o_star=5)
            .fit([train.features.clone()])
            .predict(test.features.clone())
        ),
        "ReAct": lambda: of_maps(detector.ReAct(None, head, percentile=0.9)),
        "ASH": lambda: of_maps(detector.ASH(None, head, variant="ash-s", percentile=0.65)),
        "SCALE": lambda: of_maps(detector.SCALE(None, head, percentile=0.65)),
        "DICE": lambda: of_features(detector.DICE(None, weight, bias, 0.7)),
        "LTS": lambda: of_features(detector.LTS(None, fc, p=0.25)),
        "VRA": lambda: of_maps(detector.VRA(None, head, 0.1, 0.95)),
    }


ARRAYS = [name for name in POOD if name in _of_arrays(None, world())]


@pytest.mark.parametrize("made", WORLDS)
@pytest.mark.parametrize("name", ARRAYS)
def test_pytorch_ood_on_arrays(name: str, made: str) -> None:
    detector = pytest.importorskip("pytorch_ood.detector")
    row, sets = POOD[name], WORLDS[made](world())
    train, val, test = sets
    theirs = _of_arrays(detector, sets)[name]().detach()
    row.check(fitted(row.ours, train, val).score(test), theirs)


@pytest.mark.parametrize("variant", ["b", "p"])
def test_the_other_variants_of_ash(variant: str) -> None:
    detector = pytest.importorskip("pytorch_ood.detector")
    train, val, test = world()
    assert train.head is not None
    made = detector.ASH(None, lambda x: train.head(x.flatten(1)), variant=f"ash-{variant}", percentile=0.65)
    theirs = made.predict_feature_maps(test.features[..., None, None])
    Row("ash").check(fitted({"ash": {"variant": variant, "percentile": 65}}, train, val).score(test), theirs)


class Looked(NamedTuple):
    """A trained toy network, images, and our scorer fitted on what its view says of them."""

    network: Network
    scorer: Scorer
    train: Outputs
    val: Outputs
    test: Outputs
    images: tuple[Tensor, Tensor, Tensor]


def _looked(spec: Any) -> Looked:
    network, scorer = toy_network(), registry.build("scorer", spec)
    view = scorer.view()
    assert view is not None
    sets = [toy_images(n, seed=s) for s, n in [(1, 120), (2, 40), (3, 30)]]
    plain = [contract.extracted(network, i) for i in sets]
    view.prepare(network, plain[0], plain[1])
    train, val, test = (contract.with_view(network, view, o, i) for o, i in zip(plain, sets, strict=True))
    scorer.fit(train, val)
    return Looked(
        network, scorer, train, val, test, tuple((i.images - network.mean) / network.std for i in sets)
    )  # type: ignore[arg-type]


def _odin(detector: Any, seen: Looked) -> Tensor:
    model = nn.Sequential(seen.network.body, seen.network.head)  # type: ignore[arg-type]
    std = seen.network.std.flatten().tolist()
    return detector.ODIN(model, eps=0.01, temperature=10, norm_std=std).predict(seen.images[2])


def _mds_odin(detector: Any, seen: Looked) -> Tensor:
    std = seen.network.std.flatten().tolist()
    made = detector.MahalanobisODIN(seen.network.body, eps=0.01, norm_std=std)
    return made.fit_features(seen.train.features, seen.train.labels).predict(seen.images[2])


def _mds_layers(detector: Any, seen: Looked) -> Tensor:
    names = [n for n in seen.train.extras if n.startswith("stages.")]
    made = detector.MultiMahalanobis([nn.Identity()] * len(names))
    made.fit_structured([seen.train.extras[n] for n in names], seen.train.labels)
    return made.predict_structured([seen.test.extras[n] for n in names])


def _rankfeat(detector: Any, seen: Looked) -> Tensor:
    body, last = list(seen.network.body), seen.network.stages[-1]  # type: ignore[arg-type]
    cut = int(last.removeprefix("body.")) + 1
    made = detector.RankFeat(nn.Sequential(*body[:cut]), nn.Sequential(*body[cut:], seen.network.head))
    return made.predict(seen.images[2])


def _gram(detector: Any, seen: Looked) -> Tensor:
    body, ends = list(seen.network.body), [int(s.removeprefix("body.")) + 1 for s in seen.network.stages]  # type: ignore[arg-type]
    layers = [nn.Sequential(*body[a:b]) for a, b in zip([0, *ends], ends)]  # noqa: B905 - pairs of neighbours
    made = detector.Gram(nn.Sequential(*body[ends[-1] :], seen.network.head), layers, 4, [1, 2, 3])
    made.validation_fraction = 0  # all samples bound the range, as here
    made.fit([(seen.images[0], seen.train.labels)])
    made.layer_norm = torch.tensor([seen.scorer.expected[f"gram.{s}"] for s in seen.network.stages])  # type: ignore[attr-defined]
    return made.predict(seen.images[2])


LOOKED: dict[str, Callable[[Any, Looked], Tensor]] = {
    "ODIN": _odin, "MahalanobisODIN": _mds_odin, "MultiMahalanobis": _mds_layers, "RankFeat": _rankfeat,
    "Gram": _gram,
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKED)
def test_pytorch_ood_on_networks(name: str) -> None:
    detector = pytest.importorskip("pytorch_ood.detector")
    row = POOD[name]
    seen = _looked(row.ours)
    if name == "Gram":
        row = row._replace(convert=lambda ours: ours * seen.test.probabilities.amax(dim=1))
    row.check(seen.scorer.score(seen.test), LOOKED[name](detector, seen).detach())


def test_pytorch_ood_with_dropout() -> None:
    """Both draw from the same seed: passes are batches one after the other in either."""
    detector = pytest.importorskip("pytorch_ood.detector")
    task = toy_task((1, 8, 8), toy_images(8))
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(task, body, nn.Linear(32, 4)).eval()
        x, row = toy_images(40).images, POOD["MCD"]
        scorer = registry.build("scorer", row.ours)
        extras = scorer.view()(network, x, torch.Generator().manual_seed(5))
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=torch.Generator().manual_seed(5))))
        theirs = detector.MCD(network, samples=30, mode="mean").predict(x)
        row.check(scorer.score(Outputs(torch.zeros(40, 4), extras=extras)), theirs)


def test_every_detector_has_its_row() -> None:
    detector = pytest.importorskip("pytorch_ood.detector")
    assert set(POOD) == {*ARRAYS, *LOOKED, "MCD"}
    assert set(POOD) | set(NOT_OURS) == {
        name for name in dir(detector) if isinstance(getattr(detector, name), type)
    }


# ---------------------------------------------------------------- the documentation


@pytest.mark.parametrize(
    ("heading", "rows"), [("### OpenOOD v1.5", OPENOOD), ("### pytorch-ood 0.4.0", POOD)]
)
def test_the_documentation_has_this_table(heading: str, rows: dict[str, Row]) -> None:
    due = [row.line(name) for name, row in rows.items()]
    assert lines_below(heading) == due, "docs/scorers.md should read\n" + "\n".join(due)


def test_the_documentation_says_what_of_pytorch_ood_is_not_here() -> None:
    assert all(f"`{name}` ({reason})" in DOC.read_text() for name, reason in NOT_OURS.items())
