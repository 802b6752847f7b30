"""Scores of attached heads against their formulas, sample by sample in NumPy."""

from __future__ import annotations

import numpy as np
import scipy.special
import scipy.stats
import torch

from oodbench.core.outputs import Outputs
from tests.scoring.outputs import fitted
from tests.scoring.scorers.made import logits

Z = logits(30, 4)


def _outputs(**extras: torch.Tensor) -> Outputs:
    return Outputs(Z, extras={k.replace("_", "."): v for k, v in extras.items()})


def test_background_is_the_log_odds_of_one_class_more() -> None:
    other = logits(30, 1, seed=3)
    p = scipy.special.softmax(torch.cat([Z, other], dim=1).double().numpy(), axis=1)[:, 4]
    found = fitted("background").score(_outputs(background=other))
    np.testing.assert_allclose(found, np.log(p / (1 - p)), rtol=1e-9)


def test_mcd_is_how_far_two_classifiers_are_apart() -> None:
    other = logits(30, 4, seed=3)
    p, q = (scipy.special.softmax(z.double().numpy(), axis=1) for z in (Z, other))
    found = fitted("mcd").score(_outputs(mcd=other))
    np.testing.assert_allclose(found, np.abs(p - q).sum(axis=1), rtol=1e-9)
    assert float(fitted("mcd").score(_outputs(mcd=Z)).max()) == 0


def test_rotation_is_the_turns_loss_less_the_divergence_from_the_uniform() -> None:
    turned = logits(30 * 4, 4, seed=3).view(30, 4, 4)
    expected = []
    for z, four in zip(Z.double().numpy(), turned.double().numpy(), strict=True):
        loss = np.mean([-scipy.special.log_softmax(four[t])[t] for t in range(4)])
        expected.append(loss - scipy.stats.entropy(np.full(4, 0.25), scipy.special.softmax(z)))
    scorer = fitted("rotation")
    found = scorer.score(Outputs(Z, extras={"rotation": turned[:, 0], "rotations.logits": turned}))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_confidence_and_godins_parts_fall_as_their_heads_rise() -> None:
    head = logits(30, 1, seed=3)
    assert torch.equal(fitted("confidence").score(_outputs(confidence=head)), -head.flatten())
    assert torch.equal(fitted({"godin": {"part": "g"}}).score(_outputs(godin=head)), -head.flatten())
    whole = fitted("godin")
    assert whole.view() is not None
    moved = Outputs(Z, extras={"godin": head, "score-perturbation.score": head.flatten()})
    assert torch.equal(whole.score(moved), head.flatten())


def test_decoupled_adds_cosine_and_norm_over_their_validation_means() -> None:
    norms, val_norms = logits(30, 1, seed=3).abs(), logits(20, 1, seed=4).abs()
    val = Outputs(logits(20, 4, seed=5), extras={"decoupled": val_norms})
    found = fitted("decoupled", val=val).score(_outputs(decoupled=norms))
    cosine = Z.amax(1).double() / val.logits.amax(1).double().mean()
    expected = -(cosine + norms.flatten().double() / val_norms.double().mean())
    torch.testing.assert_close(found, expected)
