"""Views and the scorers that read them: against slow references and pytorch-ood, and one whole suite that
runs them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from oodbench import build
from oodbench.core.errors import UserError
from oodbench.core.network import Network, Task
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer, View
from oodbench.core.spec import spec_of
from oodbench.data.contract import toy_images
from oodbench.runs.runner import run
from oodbench.scoring import contract, functional
from oodbench.suite.parse import parse_suite
from oodbench.training.contract import toy_network

VIEWED = ["odin", "mds-odin", "mc-dropout", "adascale", "mds-layers", "gram", "rankfeat"]


@pytest.fixture(scope="module")
def network() -> Network:
    return toy_network()


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def looked(network: Network, scorer: Scorer) -> tuple[Outputs, Outputs, Outputs]:
    """Train, validation and test outputs of the toy network with the scorer's extras."""
    view = scorer.view()
    assert view is not None
    images = [toy_images(n, seed=s) for s, n in [(1, 120), (2, 40), (3, 30)]]
    plain = [contract._extracted(network, i) for i in images]
    view.prepare(network, plain[0], plain[1])
    train, val, test = (contract._with_view(network, view, o, i) for o, i in zip(plain, images, strict=True))
    scorer.fit(train, val)
    return train, val, test


# ---------------------------------------------------------------- stages


def test_stages_hands_on_what_hooks_would_see(network: Network) -> None:
    x = toy_images(5).images
    extras = build("view", "stages")(network, x, rng())
    h = (x - network.mean) / network.std
    for i, module in enumerate(network.body):  # type: ignore[arg-type]
        h = module(h)
        if f"body.{i}" in network.stages:
            torch.testing.assert_close(extras[f"stages.body.{i}"], h.mean(dim=(2, 3)))
    assert len(extras) == len(network.stages)
    assert not any(m._forward_hooks for m in network.modules())


def test_the_distance_over_layers_is_that_of_pytorch_ood() -> None:
    detector = pytest.importorskip("pytorch_ood.detector").MultiMahalanobis([nn.Identity()] * 3)

    def outputs(n: int, seed: int) -> Outputs:
        y, extras = torch.arange(n) % 4, {}
        for i, width in enumerate((5, 9, 12)):
            extras[f"stages.{i}"] = (
                torch.randn(n, width, generator=rng(seed + i)) + 2 * torch.eye(4, width)[y]
            )
        return Outputs(torch.eye(4)[y], labels=y, extras=extras)

    train, test = outputs(300, 0), outputs(40, 10)
    scorer = build("scorer", {"mds-layers": {"combine": "sum"}})
    scorer.fit(train, test)
    detector.fit_structured(list(train.extras.values()), train.labels)
    theirs = detector.predict_structured(list(test.extras.values()))
    # theirs: half the distance under the summed, not the mean, scatter
    np.testing.assert_allclose(
        scorer.score(test).numpy(), 2 * len(train) * theirs.double().numpy(), rtol=1e-4
    )


def test_the_distance_over_layers_is_standardised_on_validation(network: Network) -> None:
    scorer = build("scorer", "mds-layers")
    train, val, test = looked(network, scorer)
    expected = np.zeros(len(test))
    for name in network.stages:
        h, y = train.extras[f"stages.{name}"].double().numpy(), train.labels.numpy()
        means = np.stack([h[y == c].mean(axis=0) for c in range(4)])
        precision = np.linalg.pinv((h - means[y]).T @ (h - means[y]) / len(h), rcond=1e-10, hermitian=True)

        def distance(
            o: Outputs, name: str = name, means: np.ndarray = means, precision: np.ndarray = precision
        ) -> np.ndarray:
            d = o.extras[f"stages.{name}"].double().numpy()[:, None] - means
            return np.einsum("ncd,de,nce->nc", d, precision, d).min(axis=1)

        known = distance(val)
        expected += (distance(test) - known.mean()) / known.std(ddof=1)
    np.testing.assert_allclose(scorer.score(test).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_gram_rows_are_those_of_the_whole_matrix() -> None:
    maps = torch.randn(3, 4, 9, generator=rng())
    found = build("view", {"gram": {"powers": 3}})._rows(maps)
    for b in range(3):
        for p in (1, 2, 3):
            f = maps[b].double() ** p
            row = (f @ f.T).sum(dim=1)
            torch.testing.assert_close(
                found[b, 4 * (p - 1) : 4 * p].double(),
                row.sign() * row.abs() ** (1 / p),
                rtol=1e-4,
                atol=1e-5,
            )


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_gram_does_not_overflow(scale: float) -> None:
    maps = torch.randn(2, 4, 9, generator=rng())
    view = build("view", {"gram": {"powers": 10}})
    rows = view._rows(maps * scale)
    assert rows.isfinite().all()
    torch.testing.assert_close(rows, view._rows(maps) * scale**2, rtol=1e-3, atol=0)
    assert torch.equal(view._rows(torch.zeros(1, 4, 9)), torch.zeros(1, 40))


def test_gram_deviation_is_a_loop_over_classes(network: Network) -> None:
    scorer = build("scorer", {"gram": {"powers": 2}})
    train, val, test = looked(network, scorer)

    def deviation(o: Outputs, name: str) -> np.ndarray:
        g, bank, found = o.extras[name].numpy(), train.extras[name].numpy(), []
        for row, c in zip(g, o.predictions.numpy(), strict=True):
            mine = bank[train.predictions.numpy() == c]
            low, high = mine.min(axis=0), mine.max(axis=0)
            found.append(
                (
                    np.maximum(low - row, 0) / abs(low + 1e-6) + np.maximum(row - high, 0) / abs(high + 1e-6)
                ).sum()
            )
        return np.array(found)

    names = [f"gram.{n}" for n in network.stages]
    expected = (
        sum(deviation(test, n) / deviation(val, n).mean() for n in names)
        / test.probabilities.amax(dim=1).numpy()
    )
    np.testing.assert_allclose(scorer.score(test).numpy(), expected, rtol=1e-3)


def test_gram_bounds_of_a_class_that_nobody_is_predicted_as() -> None:
    logits = torch.eye(3)[torch.arange(30) % 2]  # nobody is predicted as class 2
    outputs = Outputs(logits, torch.zeros(30, 1), torch.arange(30) % 3, extras={"gram.a": torch.rand(30, 5)})
    scorer = build("scorer", "gram")
    scorer.fit(outputs, outputs)
    odd = Outputs(
        torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 1), extras={"gram.a": torch.full((1, 5), 2.0)}
    )
    assert scorer.score(odd).isfinite().all()
    assert float(scorer.score(odd)) > 0


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 8, 2, 2), (1, 3, 7), (1, 1, 1, 1)])
def test_the_leading_singular_component_is_removed(shape: tuple[int, ...]) -> None:
    from oodbench.scoring.views.stages import without_rank_one

    maps = torch.randn(*shape, generator=rng())
    matrix = maps.flatten(2)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    expected = matrix - s[:, :1, None] * u[:, :, :1] @ v[:, :1]
    torch.testing.assert_close(without_rank_one(maps).flatten(2), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(without_rank_one(torch.zeros(shape)), torch.zeros(shape))


def test_rankfeat_edits_one_stage_at_a_time_as_pytorch_ood_does(network: Network) -> None:
    detector = pytest.importorskip("pytorch_ood.detector").RankFeat
    x = toy_images(6).images
    body = list(network.body)  # type: ignore[arg-type]
    energies = []
    for cut in (2, 4):
        backbone, rest = nn.Sequential(*body[: cut + 1]), nn.Sequential(*body[cut + 1 :], network.head)
        logits = []
        detector(backbone, lambda h, rest=rest, to=logits: to.append(rest(h)) or rest(h)).predict(
            (x - network.mean) / network.std
        )
        energies.append(logits[0])
    extras = build("view", "rankfeat")(network, x, rng())
    torch.testing.assert_close(extras["rankfeat.logits"], sum(energies) / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("view", ["stages", "gram", "rankfeat"])
def test_a_network_without_stages_is_refused(view: str) -> None:
    task = Task("image", (1, 8, 8), 3, (0.0,), (1.0,))
    bare = Network(task, nn.Flatten(), nn.Linear(64, 3))
    assert "names none" in build("view", view).objection(bare)
    lost = Network(task, nn.Sequential(nn.Flatten()), nn.Linear(64, 3), ["body.0"])
    assert ("dimensions are needed" in build("view", view).objection(lost)) == (
        view == "rankfeat"
    ) or view == "rankfeat"


def test_objections_name_the_stage(network: Network) -> None:
    assert "'nothing' is not one of the network's: body.0" in build(
        "view", {"stages": {"stages": ["nothing"]}}
    ).objection(network)
    assert "the network names 3 stages" in build("view", {"rankfeat": {"blocks": 4}}).objection(network)
    assert build("view", {"rankfeat": {"blocks": 3}}).objection(network) == ""
    flat = build("network", {"mlp": {"hidden": [8, 8]}}, Task("image", (1, 8, 8), 3, (0.0,), (1.0,)))
    assert "hands on (8,) per sample" in build("view", "rankfeat").objection(flat)
    assert build("view", "stages").objection(flat) == ""
    assert not network.training


# ---------------------------------------------------------------- dropout


class _Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(self.layer(x.flatten(1))).relu())


def test_dropout_layers_are_switched_on_and_off_again() -> None:
    torch.manual_seed(0)
    network = Network(Task("image", (1, 8, 8), 3, (0.0,), (1.0,)), _Dropping(), nn.Linear(16, 3)).eval()
    x, running = torch.rand(4, 1, 8, 8), network.body.norm.running_mean.clone()  # type: ignore[union-attr, operator]
    state = torch.random.get_rng_state()
    extras = build("view", {"mc-dropout": {"passes": 400}})(network, x, rng())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(m.training for m in network.modules())
    assert torch.equal(running, network.body.norm.running_mean)  # type: ignore[union-attr]
    plain = network.body.norm(network.body.layer(x.flatten(1))).relu()  # type: ignore[union-attr, operator]
    masks = (torch.rand(20000, 1, 16, generator=rng(1)) > 0.5) * 2.0
    expected = torch.softmax(network.head(plain * masks), dim=2).mean(dim=0)
    torch.testing.assert_close(extras["mc-dropout.probabilities"].float(), expected, rtol=0, atol=0.06)
    again = build("view", {"mc-dropout": {"passes": 400}})(network, x, rng())
    assert torch.equal(extras["mc-dropout.entropy"], again["mc-dropout.entropy"])


def test_features_are_dropped_where_the_network_has_no_dropout(network: Network) -> None:
    x = toy_images(6).images
    extras = build("view", {"mc-dropout": {"passes": 3, "p": 0.25}})(network, x, rng(5))
    again, p, entropy = rng(5), 0.0, 0.0
    for _ in range(3):
        features = network.features(x)
        kept = torch.rand(features.shape, generator=again) >= 0.25
        one = torch.softmax(network.head(features * kept / 0.75).double(), dim=1)
        p, entropy = p + one / 3, entropy - (one * one.log()).sum(dim=1) / 3
    torch.testing.assert_close(extras["mc-dropout.probabilities"], p)
    torch.testing.assert_close(extras["mc-dropout.entropy"], entropy)
    outputs = Outputs(torch.zeros(6, 4), extras={k: v.float() for k, v in extras.items()})
    total = -(p * p.log()).sum(dim=1)
    for statistic, expected in [
        ("mean", (1 - p.amax(dim=1)).log()),
        ("entropy", total),
        ("mutual-information", total - entropy),
    ]:
        found = build("scorer", {"mc-dropout": {"statistic": statistic}}).score(outputs)
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-5)


# ---------------------------------------------------------------- perturbations


def test_the_perturbation_makes_the_score_smaller(network: Network) -> None:
    scorer = build("scorer", {"mds-odin": {"epsilon": 0.002}})
    train, val, test = looked(network, scorer)
    plain = build("scorer", "mds")
    plain.fit(train, val)
    assert float((scorer.score(test) < plain.score(test)).float().mean()) > 0.9
    still = build("scorer", {"mds-odin": {"epsilon": 0.0}})
    torch.testing.assert_close(
        still.score(looked(network, still)[2]).double(), plain.score(test), rtol=1e-3, atol=1e-3
    )


def test_the_perturbed_input_is_one_signed_step(network: Network) -> None:
    x = toy_images(4).images
    view = build("view", {"score-perturbation": {"of": "energy", "epsilon": 0.01}})
    view.prepare(network, None, None)
    moved = x.clone()
    for i in range(4):
        one = x[i : i + 1].clone().requires_grad_()
        (-torch.logsumexp(network(one), dim=1)).sum().backward()
        assert one.grad is not None
        moved[i] -= 0.01 * (network.std * one.grad.sign())[0]
    expected = -torch.logsumexp(network(moved), dim=1)
    torch.testing.assert_close(
        view(network, x, rng())["score-perturbation.score"], expected, rtol=1e-4, atol=1e-4
    )
    assert all(p.grad is None or not p.requires_grad or p.grad.isfinite().all() for p in network.parameters())


def test_what_cannot_be_perturbed_is_refused(network: Network) -> None:
    with pytest.raises(UserError, match="gives no gradient"):
        build("scorer", {"mds-odin": {"of": "odin"}})
    with pytest.raises(UserError, match="train set, and there is none"):
        build("view", "score-perturbation").prepare(network, None, None)


def test_weak_pixels_are_those_of_the_smallest_gradient(network: Network) -> None:
    x = toy_images(3).images
    found = build("view", {"weak-pixels": {"share": 0.1, "step": 0.25}})(network, x, rng())[
        "weak-pixels.features"
    ]
    moved = x.clone()
    for i in range(3):
        one = x[i : i + 1].clone().requires_grad_()
        network(one).max().backward()
        assert one.grad is not None
        gradient = one.grad.flatten()
        weakest = gradient.abs().argsort()[: int(64 * 0.1)]
        moved.view(3, -1)[i, weakest] += 0.25 * float(network.std) * gradient[weakest].sign()
    torch.testing.assert_close(found, network.features(moved), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["a", "l"])
def test_adascale_follows_openood(variant: str) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(3, 40), torch.randn(3)

    def outputs(n: int) -> Outputs:
        features = torch.randn(n, 40)
        from oodbench.core.network import Head

        head = Head(weight, bias)
        return Outputs(
            head(features),
            features,
            head=head,
            extras={"weak-pixels.features": features + 0.1 * torch.randn(n, 40)},
        )

    val, test = outputs(25), outputs(9)
    scorer = build("scorer", {"adascale": {"variant": variant, "low": 60.0, "high": 80.0}})
    scorer.fit(None, val)

    def shift(f: np.ndarray, moved: np.ndarray) -> float:
        order = np.argsort(-f)
        return float(np.maximum(moved, 0)[order[:2]].sum() + 10 * np.abs(f - moved)[order[:1]].sum())

    known = [
        shift(*pair)
        for pair in zip(val.features.numpy(), val.extras["weak-pixels.features"].numpy(), strict=True)
    ]
    expected = []
    for f, moved, z in zip(
        test.features.numpy(), test.extras["weak-pixels.features"].numpy(), test.logits.numpy(), strict=True
    ):
        percentile = 60 + (1 - np.mean(np.array(known) <= shift(f, moved))) * 20
        positive = np.sort(np.maximum(f, 0))[::-1]
        r = positive.sum() / positive[: 40 - int(np.round(40 * percentile / 100))].sum()
        edited = z * r**2 if variant == "l" else weight.numpy() @ (f * np.exp(r)) + bias.numpy()
        expected.append(-edited.max() - np.log(np.exp(edited - edited.max()).sum()))
    np.testing.assert_allclose(scorer.score(test).numpy(), expected, rtol=1e-4)
    assert scorer.score(test[:1]).shape == (1,)


# ---------------------------------------------------------------- fusion


def fused(tail: str = "empirical", n: int = 200) -> tuple[Scorer, Outputs, Outputs]:
    torch.manual_seed(1)
    logits = torch.randn(n, 4) * 3
    val, test = Outputs(logits), Outputs(torch.randn(50, 4) * torch.linspace(0.01, 4, 50).unsqueeze(1))
    scorer = build("scorer", {"fisher": {"of": ["energy", "entropy"], "tail": tail}})
    scorer.fit(None, val)
    return scorer, val, test


def test_fisher_with_brown_is_what_scipy_says() -> None:
    stats = pytest.importorskip("scipy.stats")
    scorer, val, test = fused()
    parts = [build("scorer", name) for name in ("energy", "entropy")]

    def statistic(o: Outputs) -> np.ndarray:
        total = 0.0
        for part in parts:
            known, s = np.sort(part.score(val).double().numpy()), part.score(o).double().numpy()
            x = np.concatenate([known, [np.nextafter(known[-1], np.inf)]])
            y = np.concatenate([(len(known) + 1 - np.arange(len(known))), [1]]) / (len(known) + 1)
            total = total - 2 * np.log(np.interp(s, x, y))
        return np.asarray(total)

    t = statistic(val)
    c, k = t.var() / (2 * t.mean()), 2 * t.mean() ** 2 / t.var()
    np.testing.assert_allclose(
        scorer.score(test).numpy(), -stats.chi2.logsf(statistic(test) / c, k), rtol=1e-6, atol=1e-9
    )


def test_fisher_p_values_are_uniform_on_validation() -> None:
    scorer, val, _ = fused(n=4000)
    p = (-scorer.score(val)).exp()
    for level in (0.05, 0.25, 0.5, 0.75):
        assert abs(float((p <= level).double().mean()) - level) < 0.04


def test_an_exponential_tail_does_not_tie() -> None:
    far = Outputs(torch.zeros(20, 4) - torch.arange(20.0).unsqueeze(1))  # energies far above any known one
    flat, falling = fused("empirical")[0].score(far), fused("exponential")[0].score(far)
    assert len(flat[10:].unique()) == 1
    assert (falling.diff() > 0).all()
    assert falling.isfinite().all()


def test_fisher_needs_what_its_scorers_need() -> None:
    scorer = build("scorer", {"fisher": {"of": ["mds", {"knn": {"k": 3}}, "odin"]}})
    assert scorer.needs == {"train", "val", "features"}
    assert spec_of(scorer.view()).name == "perturbation"
    with pytest.raises(UserError, match="read different views"):
        build("scorer", {"fisher": {"of": ["odin", "gram"]}})
    with pytest.raises(UserError, match="at least 2"):
        build("scorer", {"fisher": {"of": ["msp"]}})
    constant = build("scorer", {"fisher": {"of": ["msp", "mls"]}})
    with pytest.raises(ValueError, match="do not vary"):
        constant.fit(None, Outputs(torch.zeros(9, 3)))


def test_the_log_of_the_gamma_tail() -> None:
    special = pytest.importorskip("scipy.special")
    x = torch.tensor([0.0, 0.5, 3.0, 40.0, 400.0])
    np.testing.assert_allclose(
        functional.log_upper_gamma(2.5, x).numpy(), np.log(special.gammaincc(2.5, x.numpy())), rtol=1e-9
    )
    beyond = functional.log_upper_gamma(2.5, torch.tensor([560.0, 600.0, 5000.0]))
    assert (beyond.diff() < 0).all()
    assert float(beyond[2]) == pytest.approx(-5000 + 1.5 * np.log(5000) - special.gammaln(2.5), abs=1e-3)


# ---------------------------------------------------------------- all of them


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
    train = contract._extracted(network, toy_images(60))
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
