"""Activation shaping against the papers' loops; what every shaper must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oodbench import build, score_all
from oodbench.core.errors import UserError
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from tests.scoring.scorers.activations import TEST, TRAIN, VAL, close, fitted, world

SHAPERS = ["react", "ash", "scale", "lts", "dice", "vra", "optfs", {"weiper": {"repeats": 3}}]


def energy(logits: np.ndarray) -> np.ndarray:
    return -np.log(np.exp(logits.astype(np.float64)).sum(axis=1))


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
