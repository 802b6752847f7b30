"""Logit scorers against slow references of our own. Against other libraries: test_parity.py."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.scoring.scorers import openmax

rng = np.random.default_rng(0)


def logits(count: int = 60, classes: int = 6, scale: float = 3.0, seed: int = 0) -> Tensor:
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


def labelled(count: int = 200, classes: int = 6, seed: int = 1) -> Outputs:
    """Logits whose label is drawn from the softmax at temperature 2: the NLL has its optimum near there."""
    z = logits(count, classes, seed=seed)
    labels = torch.multinomial(
        torch.softmax(z / 2, dim=1), 1, generator=torch.Generator().manual_seed(seed)
    ).squeeze(1)
    return Outputs(z, labels=labels)


def build(spec: object, train: Outputs | None = None, val: Outputs | None = None) -> Scorer:
    made: Scorer = registry.build("scorer", spec)
    made.fit(train, val)
    return made


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


# ---------------------------------------------------------------- slow references


def test_temperature_is_the_optimum_of_the_validation_nll() -> None:
    from scipy.optimize import minimize_scalar

    val = labelled(3000)
    made = build("temperature-scaling", val=val)

    def nll(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(val.logits.double() / temperature, val.labels))

    best = minimize_scalar(nll, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-10}).x
    assert made.temperature == pytest.approx(best, rel=1e-6)
    assert made.temperature == pytest.approx(2, rel=0.1)
    for factor in (0.01, 0.1, 3.0, 30.0):  # scales with the logits, however far the optimum is
        scaled = build("temperature-scaling", val=Outputs(factor * val.logits, labels=val.labels))
        assert scaled.temperature == pytest.approx(factor * made.temperature, rel=1e-6)
    z = logits()
    expected = torch.log(1 - torch.softmax(z.double() / made.temperature, dim=1).amax(dim=1))
    torch.testing.assert_close(made.score(Outputs(z)), expected)


def test_temperature_at_its_bounds() -> None:
    z = logits(50)
    perfect = Outputs(z, labels=z.argmax(dim=1))
    assert build("temperature-scaling", val=perfect).temperature == pytest.approx(0.01)
    assert build("temperature-scaling", val=Outputs(z, labels=z.argmin(dim=1))).temperature == pytest.approx(
        100
    )
    with pytest.raises(ValueError, match="no validation sample has a known class"):
        build("temperature-scaling", val=Outputs(z))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_doctor(temperature: float) -> None:
    z = logits()
    p = np.array([softmax(row / temperature) for row in z.double().numpy()])
    g = (p**2).sum(axis=1)
    alpha = build({"doctor": {"temperature": temperature}}).score(Outputs(z))
    np.testing.assert_allclose(alpha, np.log((1 - g) / g), rtol=1e-9)
    error = 1 - p.max(axis=1)
    beta = build({"doctor": {"variant": "beta", "temperature": temperature}}).score(Outputs(z))
    np.testing.assert_allclose(beta, np.log(error / (1 - error)), rtol=1e-9)


def test_margin() -> None:
    z = logits()
    ordered = np.sort(z.double().numpy(), axis=1)
    np.testing.assert_allclose(build("margin").score(Outputs(z)), ordered[:, -2] - ordered[:, -1])
    p = np.array([np.sort(softmax(row)) for row in z.double().numpy()])
    of_p = build({"margin": {"of": "probabilities"}}).score(Outputs(z))
    np.testing.assert_allclose(of_p, np.log(1 - (p[:, -1] - p[:, -2])), rtol=1e-9)


@pytest.mark.parametrize("p", [1.0, 2.0, 4.5, 50.0])
@pytest.mark.parametrize("shift", ["mean", "min", "none"])
def test_mls_pnorm(p: float, shift: str) -> None:
    z = logits(scale=400.0)
    expected = []
    for row in z.double().numpy():
        moved = row - {"mean": row.mean(), "min": row.min(), "none": 0.0}[shift]
        expected.append(-moved.max() / np.linalg.norm(moved, ord=p))
    np.testing.assert_allclose(
        build({"mls-pnorm": {"p": p, "shift": shift}}).score(Outputs(z)), expected, rtol=1e-9
    )


def test_mls_pnorm_does_not_depend_on_scale_and_refuses_a_constant() -> None:
    z = logits()
    made = build("mls-pnorm")
    torch.testing.assert_close(
        made.score(Outputs(1000 * z + 5)), made.score(Outputs(z)), rtol=1e-4, atol=1e-5
    )
    assert float(made.score(Outputs(torch.full((1, 6), 3.0)))) == 0
    with pytest.raises(ValueError, match="shift: none"):
        made.score(Outputs(logits(classes=2)))
    assert len(build({"mls-pnorm": {"shift": "none"}}).score(Outputs(logits(classes=2))).unique()) > 2


def test_igeood() -> None:
    train, z = labelled(), logits(30, seed=3)
    made = build({"igeood": {"temperature": 1.7}}, train)
    expected = []
    for row in z.double().numpy():
        p = softmax(row / 1.7)
        total = 0.0
        for c in range(6):
            q = softmax(train.logits[train.labels == c].double().numpy().mean(axis=0) / 1.7)
            total += 2 * math.acos(min(1.0, float(np.sqrt(p * q).sum())))
        expected.append(-total)
    np.testing.assert_allclose(made.score(Outputs(z)), expected, rtol=1e-9)


@pytest.mark.parametrize("spread", [0.01, 1.0, 40.0])
def test_weibull_fit_is_scipys(spread: float) -> None:
    tail = torch.tensor(np.sort(np.random.default_rng(1).gamma(2.0, spread, 40)) + openmax.TRANSLATION)
    shape, scale = openmax.weibull(tail)
    logs = float(scipy.stats.weibull_min.logpdf(tail.numpy(), shape, loc=0, scale=scale).sum())
    theirs = scipy.stats.weibull_min.fit(tail.numpy(), shape, floc=0, scale=scale)
    best = float(scipy.stats.weibull_min.logpdf(tail.numpy(), theirs[0], loc=0, scale=theirs[2]).sum())
    assert logs >= best - 1e-6 * abs(best)
    for other in (0.97, 1.03):  # a maximum
        assert logs > float(
            scipy.stats.weibull_min.logpdf(tail.numpy(), other * shape, loc=0, scale=scale).sum()
        )


def openmax_reference(train: Outputs, z: np.ndarray, alpha: int, tail: int) -> np.ndarray:
    """P(unknown), class by class and sample by sample, with SciPy's own fit."""
    zt, y = train.logits.double().numpy(), train.labels.numpy()
    centres, fits = [], []
    for c in range(zt.shape[1]):
        own = zt[(y == c) & (zt.argmax(axis=1) == c)]
        centres.append(own.mean(axis=0))
        far = np.sort(np.linalg.norm(own - centres[c], axis=1))[-tail:]
        start = openmax.weibull(torch.tensor(far - far[0] + openmax.TRANSLATION))
        fit = scipy.stats.weibull_min.fit(
            far - far[0] + openmax.TRANSLATION, start[0], floc=0, scale=start[1]
        )
        fits.append((fit, far[0]))
    unknown = []
    for row in z:
        revised, removed = row.copy(), 0.0
        for rank, c in enumerate(np.argsort(-row)[:alpha], start=1):
            fit, smallest = fits[c]
            w = scipy.stats.weibull_min.cdf(
                np.linalg.norm(row - centres[c]) - smallest + openmax.TRANSLATION, *fit
            )
            revised[c] = row[c] * (1 - (alpha + 1 - rank) / alpha * w)
            removed += row[c] - revised[c]
        unknown.append(np.exp(removed) / (np.exp(removed) + np.exp(revised).sum()))
    return np.array(unknown)


def test_openmax() -> None:
    train, z = labelled(800), logits(80, scale=5.0, seed=5)
    found = torch.sigmoid(build({"openmax": {"alpha": 3, "tail": 15}}, train).score(Outputs(z))).numpy()
    np.testing.assert_allclose(
        found, openmax_reference(train, z.double().numpy(), 3, 15), rtol=2e-3, atol=1e-6
    )


def test_openmax_falls_back_class_by_class() -> None:
    train = labelled(400)
    wrong = train.labels.clone()
    wrong[train.logits.argmax(dim=1) == wrong] = 0  # only class 0 has correct samples now
    z = logits(50, seed=6)
    assert bool(torch.isfinite(build("openmax", Outputs(train.logits, labels=wrong)).score(Outputs(z))).all())
    absent = train[train.labels != 4]
    score = build("openmax", absent).score(Outputs(z))
    sure = z[z.argmax(dim=1) == 4]
    assert float(build("openmax", absent).score(Outputs(sure)).mean()) > float(score.mean())
    with pytest.raises(ValueError, match="no training sample has a known class"):
        build("openmax", Outputs(train.logits))


def test_klm_reference() -> None:
    val, z = labelled(), logits(20, seed=7)
    p_val = torch.softmax(val.logits.double(), dim=1).numpy()
    means = np.stack([p_val[p_val.argmax(axis=1) == c].mean(axis=0) for c in range(6)])
    p = torch.softmax(z.double(), dim=1).numpy()
    expected = [min(scipy.stats.entropy(row, m) for m in means) for row in p]
    np.testing.assert_allclose(build("klm", val=val).score(Outputs(z)), expected, rtol=1e-6)


def test_confident_samples_do_not_tie() -> None:
    """Softmax rounds to 1 in float32 for a gap of 17 and in float64 for one of 37; the order by gap must
    survive both."""
    gaps = torch.linspace(15, 600, 40)
    z = torch.zeros(40, 5)
    z[:, 2] = gaps
    for spec in (
        "msp",
        "entropy",
        "doctor",
        {"doctor": {"variant": "beta"}},
        {"margin": {"of": "probabilities"}},
    ):
        score = build(spec).score(Outputs(z)).double()
        assert bool((score.diff() < 0).all()), spec


def test_how_members_differ() -> None:
    z = logits(40 * 3, seed=11).view(40, 3, 6)
    outputs = Outputs(z.mean(dim=1), extras={"members.logits": z})
    information, disagree = [], []
    for sample in z.double().numpy():
        p = np.array([softmax(row) for row in sample])
        information.append(
            scipy.stats.entropy(p.mean(axis=0)) - np.mean([scipy.stats.entropy(row) for row in p])
        )
        classes = p.argmax(axis=1)
        disagree.append(np.mean([classes[a] != classes[b] for a, b in ((0, 1), (0, 2), (1, 2))]))
    np.testing.assert_allclose(build("mutual-information").score(outputs), information, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(build("disagreement").score(outputs), disagree)


# ---------------------------------------------------------------- OpenOOD's scores


def test_openoods_temperature_stops_short_of_the_optimum(shared: Path) -> None:
    file = np.load(shared / "parity" / "digits-mlp.npz")
    val = Outputs(torch.from_numpy(file["val.logits"]), labels=torch.from_numpy(file["val.labels"]))
    made = build("temperature-scaling", val=val)
    nll = {
        t: float(torch.nn.functional.cross_entropy(val.logits.double() / t, val.labels))
        for t in (made.temperature, 1.5)
    }
    assert nll[made.temperature] < nll[1.5]
    part = "id_test"
    theirs = torch.from_numpy(file[f"openood.temp_scaling.{part}"])
    z = torch.from_numpy(file[f"{part}.logits"])

    def gap(t: float) -> float:
        return float((torch.softmax(z.double() / t, dim=1).amax(dim=1) - theirs).abs().max())

    assert min(gap(t) for t in np.linspace(0.5, 3, 501)) < 1e-3 < gap(made.temperature)
