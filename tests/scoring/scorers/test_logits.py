"""Logit scorers against slow references. Against other libraries: tests/whole/test_parity.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from oodbench.core.outputs import Outputs
from tests.scoring.outputs import fitted
from tests.scoring.scorers.made import labelled, logits
from tests.scoring.scorers.references import Arrays, follows, softmax


def test_temperature_is_the_optimum_of_the_validation_nll() -> None:
    from scipy.optimize import minimize_scalar

    val = labelled(3000)
    made = fitted("temperature-scaling", val=val)

    def nll(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(val.logits.double() / temperature, val.labels))

    best = minimize_scalar(nll, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-10}).x
    assert made.temperature == pytest.approx(best, rel=1e-6)
    assert made.temperature == pytest.approx(2, rel=0.1)
    for factor in (0.01, 0.1, 3.0, 30.0):  # scales with the logits, however far the optimum is
        scaled = fitted("temperature-scaling", val=Outputs(factor * val.logits, labels=val.labels))
        assert scaled.temperature == pytest.approx(factor * made.temperature, rel=1e-6)
    z = logits()
    expected = torch.log(1 - torch.softmax(z.double() / made.temperature, dim=1).amax(dim=1))
    torch.testing.assert_close(made.score(Outputs(z)), expected)


def test_temperature_at_its_bounds() -> None:
    z = logits(50)
    perfect = Outputs(z, labels=z.argmax(dim=1))
    assert fitted("temperature-scaling", val=perfect).temperature == pytest.approx(0.01)
    assert fitted("temperature-scaling", val=Outputs(z, labels=z.argmin(dim=1))).temperature == pytest.approx(
        100
    )
    with pytest.raises(ValueError, match="no validation sample has a known class"):
        fitted("temperature-scaling", val=Outputs(z))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_doctor(temperature: float) -> None:
    z = logits()
    p = np.array([softmax(row / temperature) for row in z.double().numpy()])
    g = (p**2).sum(axis=1)
    alpha = fitted({"doctor": {"temperature": temperature}}).score(Outputs(z))
    np.testing.assert_allclose(alpha, np.log((1 - g) / g), rtol=1e-9)
    error = 1 - p.max(axis=1)
    beta = fitted({"doctor": {"variant": "beta", "temperature": temperature}}).score(Outputs(z))
    np.testing.assert_allclose(beta, np.log(error / (1 - error)), rtol=1e-9)


def test_margin() -> None:
    z = logits()
    ordered = np.sort(z.double().numpy(), axis=1)
    np.testing.assert_allclose(fitted("margin").score(Outputs(z)), ordered[:, -2] - ordered[:, -1])
    p = np.array([np.sort(softmax(row)) for row in z.double().numpy()])
    of_p = fitted({"margin": {"of": "probabilities"}}).score(Outputs(z))
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
        fitted({"mls-pnorm": {"p": p, "shift": shift}}).score(Outputs(z)), expected, rtol=1e-9
    )


def test_mls_pnorm_does_not_depend_on_scale_and_refuses_a_constant() -> None:
    z = logits()
    made = fitted("mls-pnorm")
    torch.testing.assert_close(
        made.score(Outputs(1000 * z + 5)), made.score(Outputs(z)), rtol=1e-4, atol=1e-5
    )
    assert float(made.score(Outputs(torch.full((1, 6), 3.0)))) == 0
    with pytest.raises(ValueError, match="shift: none"):
        made.score(Outputs(logits(classes=2)))
    assert len(fitted({"mls-pnorm": {"shift": "none"}}).score(Outputs(logits(classes=2))).unique()) > 2


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
        score = fitted(spec).score(Outputs(z)).double()
        assert bool((score.diff() < 0).all()), spec


def test_openoods_temperature_stops_short_of_the_optimum(shared: Path) -> None:
    file = np.load(shared / "parity" / "digits-mlp.npz")
    val = Outputs(torch.from_numpy(file["val.logits"]), labels=torch.from_numpy(file["val.labels"]))
    made = fitted("temperature-scaling", val=val)
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


def ref_max_cosine(a: Arrays) -> np.ndarray:
    return np.array([-max(x @ w / np.linalg.norm(x) / np.linalg.norm(w) for w in a.w) for x in a.x])


def ref_gradnorm(a: Arrays) -> np.ndarray:
    """The gradient itself, by autograd."""
    out = []
    for x in a.x:
        w = torch.tensor(a.w, requires_grad=True)
        loss = -torch.log_softmax(torch.tensor(x) @ w.T + torch.tensor(a.b), dim=0).sum()
        out.append(-float(torch.autograd.grad(loss, w)[0].abs().sum()))
    return np.array(out)


REFERENCES: dict[str, tuple[object, Callable[[Arrays], np.ndarray]]] = {
    "max-cosine": ("max-cosine", ref_max_cosine),
    "gradnorm": ("gradnorm", ref_gradnorm),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_scores_are_the_formulas(name: str) -> None:
    follows(*REFERENCES[name])


def test_scores_of_logits_alone_are_their_formulas() -> None:
    """Sample by sample, with Python's own functions."""
    z = logits(count=20)
    p = softmax(z.double().numpy())
    for name, formula in {
        "mls": lambda z, p: -z.max(),
        "energy": lambda z, p: -np.log(np.exp(z).sum()),
        "entropy": lambda z, p: -(p * np.log(p)).sum(),
        "gen": lambda z, p: (np.sort(p)[-100:] ** 0.1 * (1 - np.sort(p)[-100:]) ** 0.1).sum(),
    }.items():
        found = fitted(name).score(Outputs(z)).double().numpy()
        wanted = [formula(a, b) for a, b in zip(z.double().numpy(), p, strict=True)]
        np.testing.assert_allclose(found, wanted, rtol=1e-6, err_msg=name)
