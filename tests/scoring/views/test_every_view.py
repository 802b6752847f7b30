"""Whatever has a view: deterministic, finite, without a trace, and through a whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from oodbench import build
from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import View
from oodbench.data.contract import toy_images
from oodbench.runs.runner import run
from oodbench.scoring import contract
from oodbench.suite.parse import parse_suite
from tests.scoring.seen import looked, rng

VIEWED = ["odin", "mds-odin", "mc-dropout", "adascale", "mds-layers", "gram", "rankfeat"]


@pytest.mark.parametrize("name", VIEWED)
def test_deterministic_finite_and_without_trace(network: Network, name: str) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items()}
    scorer = build("scorer", name)
    _, _, test = looked(network, scorer)
    score = scorer.score(test)
    assert score.isfinite().all()
    assert score.unique().numel() > 20
    again = build("scorer", name)
    assert torch.equal(again.score(looked(network, again)[2]), score)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert scorer.score(test[:1]).shape == (1,)


@pytest.mark.parametrize("name", VIEWED)
def test_black_images_give_finite_scores(network: Network, name: str) -> None:
    scorer = build("scorer", name)
    looked(network, scorer)
    view: View | None = scorer.view()
    assert view is not None
    train = contract.extracted(network, toy_images(60))
    view.prepare(network, train, train)
    x = torch.zeros(2, 1, 8, 8)
    with torch.no_grad():
        features = network.features(x)
    extras = {k: v.detach() for k, v in view(network, x, rng()).items()}
    assert (
        scorer.score(Outputs(network.head(features).detach(), features, None, network.linear_head(), extras))
        .isfinite()
        .all()
    )


SUITE = """\
name: views
pairs:
  - {name: small, id: {digits: {classes: [0, 1, 2]}}, near: {other: {digits: {classes: [3]}}}}
networks: [{small-cnn: {width: 8}}]
methods: [cross-entropy]
scorers: [%s]
recipe: {epochs: 1, batch_size: 64, lr: 0.05}
"""


def test_a_whole_suite_with_every_view(tmp_path: Path) -> None:
    names = [
        *VIEWED,
        "{mds-odin: {of: rmds}}",
        "{fisher: {of: [mds, odin]}}",
        "{mc-dropout: {statistic: mutual-information}}",
    ]
    suite = parse_suite(yaml.safe_load(SUITE % ", ".join(names)))
    results = run(suite, results=tmp_path, device="cpu")
    rows = results.rows[results.rows["ood"] == "other"]
    assert sorted(rows["scorer"]) == sorted(spec.label for spec in suite.scorers)
    assert set(rows["status"]) == {"ok"}, rows[["scorer", "reason"]]
    assert rows["auroc"].between(0, 1).all()


def test_a_suite_refuses_views_that_the_network_cannot_give(tmp_path: Path) -> None:
    suite = parse_suite(yaml.safe_load(SUITE.replace("{small-cnn: {width: 8}}", "mlp") % "msp, rankfeat"))
    with pytest.raises(UserError, match=r"scorer 'rankfeat': stage 'body.2' hands on"):
        run(suite, results=tmp_path, device="cpu")
