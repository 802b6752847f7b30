"""Activation shaping against slow references written from the papers and authors' code. Against other
libraries: test_parity.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from oodbench import build, score_all
from oodbench.core.errors import UserError
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.functional import streams

SHAPERS = ["react", "ash", "scale", "lts", "dice", "vra", "optfs", {"weiper": {"repeats": 3}}]


def world(n: int = 60, width: int = 12, classes: int = 4, seed: int = 0, head: Head | None = None) -> Outputs:
    """ReLU-like features, half of them zero, and the logits of one linear head."""
    rng = torch.Generator().manual_seed(seed)
    features = (torch.randn(n, width, generator=rng) + 0.3).clamp(min=0)
    if head is None:
        rng = torch.Generator().manual_seed(99)
        head = Head(torch.randn(classes, width, generator=rng), torch.randn(classes, generator=rng))
    labels = torch.arange(n) % len(head.bias)
    return Outputs(head(features), features, labels, head)


TRAIN, VAL, TEST = world(200), world(50, seed=1), world(30, seed=2)


def fitted(spec: object, train: Outputs = TRAIN, val: Outputs = VAL) -> Scorer:
    scorer: Scorer = build("scorer", spec)
    scorer.fit(train, val)
    return scorer


def energy(logits: np.ndarray) -> np.ndarray:
    return -np.log(np.exp(logits.astype(np.float64)).sum(axis=1))


def close(found: Tensor, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- numerics


@pytest.mark.parametrize("q", [0.0, 0.1, 37.0, 90.0, 99.9, 100.0])
def test_the_streamed_percentile_is_the_exact_one(q: float, monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(997, 7) * torch.tensor([1e-6, 1.0, 1e6, 0.0, 1.0, 3.0, 1.0])
    exact = np.percentile(values.double().numpy(), q)
    monkeypatch.setattr(streams, "BLOCK", 64)
    rank = (values.numel() - 1) * q / 100
    ordered = values.flatten().sort().values
    found = functional.order_statistics(values, (int(rank), math.ceil(rank)))
    assert found == [float(ordered[int(rank)]), float(ordered[math.ceil(rank)])]
    assert functional.percentile(values, q) == pytest.approx(exact, rel=1e-6)


def test_column_percentiles_are_numpys() -> None:
    values = torch.randn(301, 5)
    low, high = functional.column_percentiles(values, (10.0, 95.0), 1000)
    close(low, np.percentile(values.numpy(), 10, axis=0))
    close(high, np.percentile(values.numpy(), 95, axis=0))
    assert len(functional.evenly_spaced(values, 100)) <= 100


# ---------------------------------------------------------------- references


def test_lts_is_the_energy_of_scaled_logits() -> None:
    expected = []
    for f, z in zip(TEST.features.numpy(), TEST.logits.numpy(), strict=True):
        k = len(f) - round(len(f) * 0.75)
        expected.append(energy((f.sum() / np.sort(f)[-k:].sum()) ** 2 * z[None])[0])
    close(fitted({"lts": {"percentile": 75.0}}).score(TEST), np.array(expected))


def test_lts_never_changes_the_prediction() -> None:
    assert torch.equal(fitted("lts").logits(TEST).argmax(1), TEST.predictions)


@pytest.mark.parametrize("percentile", [0.0, 50.0, 90.0])
def test_dice_zeroes_what_contributes_least(percentile: float) -> None:
    assert TRAIN.head is not None
    weight, bias = TRAIN.head.weight.numpy().astype(float), TRAIN.head.bias.numpy()
    contribution = TRAIN.features.numpy().mean(axis=0) * weight
    kept = contribution > np.percentile(contribution, percentile) if percentile else np.ones_like(weight)
    close(
        fitted({"dice": {"percentile": percentile}}).score(TEST),
        energy(TEST.features.numpy() @ (weight * kept).T + bias),
    )


def test_dice_refuses_to_remove_everything() -> None:
    zero = Outputs(TRAIN.logits, torch.zeros_like(TRAIN.features), TRAIN.labels, TRAIN.head)
    with pytest.raises(ValueError, match="all would be removed"):
        fitted("dice", zero)


@pytest.mark.parametrize("below", ["zero", "clip"])
@pytest.mark.parametrize("per", ["feature", "all"])
def test_vra_rectifies_between_percentiles(below: str, per: str) -> None:
    f = TRAIN.features.numpy()
    low, high = (np.percentile(f, q, axis=0 if per == "feature" else None) for q in (55, 90))
    g = TEST.features.numpy()
    shaped = np.where(g < low, 0 if below == "zero" else low, np.minimum(g, high))
    assert TRAIN.head is not None
    expected = energy(shaped @ TRAIN.head.weight.numpy().T + TRAIN.head.bias.numpy())
    close(fitted({"vra": {"low": 55.0, "below": below, "per": per}}).score(TEST), expected)


def test_vra_refuses_crossed_percentiles() -> None:
    with pytest.raises(UserError, match="at most high"):
        build("scorer", {"vra": {"low": 95.0, "high": 90.0}})


def test_optfs_follows_the_authors_loop_over_bins() -> None:
    assert TRAIN.head is not None
    weight, bias = TRAIN.head.weight.numpy(), TRAIN.head.bias.numpy()
    f, g = TRAIN.features.numpy(), TEST.features.numpy()
    left, right = np.percentile(f, 0.1), np.percentile(f, 99.9)
    width = (right - left) / 20
    contribution = weight[TRAIN.logits.numpy().argmax(1)] * f
    theta, shaped = [], np.zeros_like(g)
    for k in range(20):
        inside = (f >= left + k * width) & (f < left + (k + 1) * width)
        theta.append((inside * contribution).sum(axis=1).mean())
    theta = np.array(theta) / np.linalg.norm(theta) * np.sqrt(20)
    for k in range(20):
        shaped += ((g >= left + k * width) & (g < left + (k + 1) * width)) * g * theta[k]
    close(
        fitted({"optfs": {"bins": 20}}).score(TEST),
        -(weight[TEST.logits.numpy().argmax(1)] * shaped).sum(1),
        1e-4,
    )
    close(
        fitted({"optfs": {"bins": 20, "score": "energy"}}).score(TEST), energy(shaped @ weight.T + bias), 1e-4
    )


def test_weiper_is_the_divergence_of_histograms() -> None:
    scorer = fitted(
        {
            "weiper": {
                "repeats": 5,
                "bins": 10,
                "smooth": 3,
                "smooth_perturbed": 4,
                "lambda1": 0.7,
                "lambda2": 0.3,
            }
        }
    )
    weight, bias = (t.numpy() for t in scorer.head)  # type: ignore[attr-defined]
    assert TRAIN.head is not None
    noise = np.linalg.norm(weight.reshape(5, 4, -1) - TRAIN.head.weight.numpy(), axis=2)
    np.testing.assert_allclose(noise, np.tile(1.8 * TRAIN.head.weight.norm(dim=1).numpy(), (5, 1)), rtol=1e-5)

    def divergence(train: np.ndarray, test: np.ndarray, size: int, epsilon: float) -> np.ndarray:
        edges = np.linspace(train.min(), train.max() + 1e-8, 11)
        mean = np.mean([np.histogram(v, edges)[0] / v.size for v in train], axis=0)
        found = []
        for v in test:
            q = np.histogram(v, edges)[0] / v.size
            q = np.pad(q, ((size - 1) // 2, size - 1 - (size - 1) // 2), mode="edge")
            q = np.convolve(q, np.full(size, 1 / size), "valid") + epsilon
            p = (mean + epsilon) / (mean + epsilon).sum()
            q = q / q.sum()
            found.append((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum())
        return np.array(found)

    f, g = TRAIN.features.numpy(), TEST.features.numpy()
    z = g @ weight.T + bias
    p = np.exp(z).reshape(len(g), 5, 4)
    confidence = (p / p.sum(axis=2, keepdims=True)).max(axis=2).mean(axis=1)
    expected = (
        divergence(f, g, 3, 0.01) + 0.7 * divergence(f @ weight.T + bias, z, 4, 0.025) - 0.3 * confidence
    )
    close(scorer.score(TEST), expected, 1e-4)


# ---------------------------------------------------------------- what every shaper must do


@pytest.mark.parametrize("spec", SHAPERS, ids=str)
def test_deterministic_and_chunks_do_not_matter(spec: object) -> None:
    a, b = fitted(spec), fitted(spec)
    whole = a.score(TEST)
    assert torch.equal(whole, b.score(world(30, seed=2)))
    parts = torch.cat([a.score(part) for part in TEST.chunks(7)])
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", SHAPERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features(spec: object, dtype: torch.dtype) -> None:
    def half(o: Outputs) -> Outputs:
        return Outputs(o.logits.to(dtype), o.features.to(dtype), o.labels, o.head)

    found = fitted(spec, half(TRAIN), half(VAL)).score(half(TEST))
    assert found.isfinite().all()
    assert np.corrcoef(found.double().numpy(), fitted(spec).score(TEST).double().numpy())[0, 1] > 0.9


@pytest.mark.parametrize("spec", SHAPERS, ids=str)
def test_zero_rows_one_sample_and_one_feature(spec: object) -> None:
    features = TEST.features.clone()
    features[3:6] = 0
    assert TEST.head is not None
    zeros = Outputs(TEST.head(features), features, TEST.labels, TEST.head)
    assert fitted(spec).score(zeros).isfinite().all()
    assert fitted(spec).score(TEST[:1]).shape == (1,)
    head = Head(torch.tensor([[1.0], [2.0], [-1.0]]), torch.zeros(3))
    train, val, test = (world(n, width=1, head=head, seed=seed) for seed, n in enumerate((80, 9, 5)))
    assert fitted(spec, train, val).score(test).isfinite().all()


@pytest.mark.parametrize("name", ["react", "ash", "scale", "lts", "vra", "dice"])
@pytest.mark.parametrize("end", [0.0, 100.0])
def test_percentiles_at_the_ends(name: str, end: float) -> None:
    if name == "dice" and end == 100.0:
        with pytest.raises(UserError, match="less than 100"):
            build("scorer", {"dice": {"percentile": 100.0}})
        return
    parameters = {"low": end, "high": end} if name == "vra" else {"percentile": end}
    assert fitted({name: parameters}).score(TEST).isfinite().all()


@pytest.mark.parametrize(
    "spec",
    [{"react": {"percentile": 100.0}}, {"dice": {"percentile": 0.0}}, {"lts": {"percentile": 0.0}}],
    ids=str,
)
def test_an_edit_that_changes_nothing_is_the_energy(spec: object) -> None:
    torch.testing.assert_close(fitted(spec).score(TRAIN), build("scorer", "energy").score(TRAIN))


@pytest.mark.parametrize("name", ["react", "ash", "scale", "lts", "vra", "dice", "optfs"])
def test_edited_logits_are_given(name: str) -> None:
    scorer = fitted(name)
    assert scorer.edits
    assert scorer.logits(TEST).shape == TEST.logits.shape


def test_score_all_takes_them_together() -> None:
    found = score_all(SHAPERS, TRAIN, VAL, {"test": TEST})
    assert len(found) == len(SHAPERS)
    for scores in found.values():
        assert scores["test"].unique().numel() > 20  # no silent constant
