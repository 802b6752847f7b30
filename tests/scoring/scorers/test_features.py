"""Feature scorers against slow references. Against other libraries: test_parity.py; at the edges:
test_scorers_edges.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from oodbench.core import registry
from oodbench.core.outputs import Outputs
from oodbench.scoring import functional
from oodbench.scoring.scorers import densities, neighbours
from tests.scoring.outputs import fitted, reference_outputs, world

registry.load_builtin()

MODULES = ("logits", "distances", "neighbours", "subspaces", "densities", "openmax")
OWN = {
    n
    for n in registry.scorers
    if registry.scorers[n].target.__module__.removeprefix("oodbench.scoring.scorers.") in MODULES
}

# ---------------------------------------------------------------- slow references, sample by sample in NumPy


class Arrays:
    """The same as float64 NumPy arrays."""

    def __init__(self, train: Outputs, test: Outputs) -> None:
        assert train.head is not None
        self.f, self.z, self.y = (
            train.features.double().numpy(),
            train.logits.double().numpy(),
            train.labels.numpy(),
        )
        self.x, self.t = test.features.double().numpy(), test.logits.double().numpy()
        self.w, self.b = train.head.weight.double().numpy(), train.head.bias.double().numpy()
        self.classes = range(self.z.shape[1])

    @property
    def unit(self) -> tuple[np.ndarray, np.ndarray]:
        return tuple(
            a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12) for a in (self.f, self.x)
        )  # type: ignore[return-value]


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def mahalanobis(f: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    means = np.stack([f[y == c].mean(axis=0) for c in np.unique(y)])
    covariance = sum((r - means[c])[:, None] * (r - means[c])[None] for r, c in zip(f, y, strict=True)) / len(
        f
    )
    precision = np.linalg.pinv(covariance, hermitian=True)
    return np.array([min((r - m) @ precision @ (r - m) for m in means) for r in x])


def ref_mds(a: Arrays) -> np.ndarray:
    return mahalanobis(a.f, a.y, a.x)


def ref_mds_pp(a: Arrays) -> np.ndarray:
    f, x = a.unit
    return mahalanobis(f, a.y, x)


def ref_rmds(a: Arrays) -> np.ndarray:
    return mahalanobis(a.f, a.y, a.x) - mahalanobis(a.f, np.zeros_like(a.y), a.x)


def ref_ssd(a: Arrays) -> np.ndarray:
    f, x = a.unit
    mean, std = f.mean(axis=0), f.std(axis=0)
    f, x = (f - mean) / std, (x - mean) / std
    return np.min(
        [mahalanobis(f[a.y == c], np.zeros((a.y == c).sum(), dtype=int), x) for c in a.classes], axis=0
    )


def ref_gmm(a: Arrays) -> np.ndarray:
    densities = [
        (a.y == c).mean()
        * scipy.stats.multivariate_normal.pdf(
            a.x, a.f[a.y == c].mean(axis=0), np.cov(a.f[a.y == c].T, bias=True) + 1e-6 * np.eye(16)
        )
        for c in a.classes
    ]
    return -np.log(np.sum(densities, axis=0))


def ref_she(a: Arrays) -> np.ndarray:
    right = a.z.argmax(axis=1) == a.y
    means = [a.f[right & (a.y == c)].mean(axis=0) for c in a.classes]
    return np.array([-x @ means[t.argmax()] for x, t in zip(a.x, a.t, strict=True)])


def ref_ctm(a: Arrays) -> np.ndarray:
    means = [a.f[a.y == c].mean(axis=0) for c in a.classes]
    return np.array([-max(x @ m / np.linalg.norm(x) / np.linalg.norm(m) for m in means) for x in a.x])


def ref_max_cosine(a: Arrays) -> np.ndarray:
    return np.array([-max(x @ w / np.linalg.norm(x) / np.linalg.norm(w) for w in a.w) for x in a.x])


def ref_fdbd(a: Arrays) -> np.ndarray:
    out = []
    for x, t in zip(a.x, a.t, strict=True):
        y = t.argmax()
        far = sum(abs(t[c] - t[y]) / np.linalg.norm(a.w[c] - a.w[y]) for c in a.classes if c != y)
        out.append(-far / np.linalg.norm(x - a.f.mean(axis=0)))
    return np.array(out)


def ref_nci(a: Arrays) -> np.ndarray:
    mean = a.f.mean(axis=0)
    return np.array(
        [
            -(a.w[t.argmax()] @ (x - mean) / np.linalg.norm(x - mean) + 0.01 * np.abs(x).sum())
            for x, t in zip(a.x, a.t, strict=True)
        ]
    )


def ref_knn(a: Arrays) -> np.ndarray:
    f, x = a.unit
    return np.array([np.sort(np.linalg.norm(f - r, axis=1))[6] for r in x])


def ref_nnguide(a: Arrays) -> np.ndarray:
    f, x = a.unit
    energy = np.log(np.exp(a.z).sum(axis=1))
    return np.array(
        [
            -np.log(np.exp(t).sum()) * np.sort(energy * (f @ r))[-7:].mean()
            for r, t in zip(x, a.t, strict=True)
        ]
    )


def ref_relation(a: Arrays) -> np.ndarray:
    f, x = a.unit
    p, q = softmax(a.z), softmax(a.t)
    kernels = [np.maximum(f @ r, 0) * (p @ s) for r, s in zip(x, q, strict=True)]
    return np.array([-(k[k > 0.2] ** 2).sum() for k in kernels])


def _principal(f: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(f.T @ f / len(f))
    order = np.argsort(-values)
    return vectors[:, order[:dim]], vectors[:, order[dim:]]


def ref_vim(a: Arrays, origin: str = "head") -> np.ndarray:
    u = -np.linalg.pinv(a.w) @ a.b if origin == "head" else a.f.mean(axis=0)
    _, rest = _principal(a.f - u, 6)
    alpha = a.z.max(axis=1).mean() / np.linalg.norm((a.f - u) @ rest, axis=1).mean()
    return alpha * np.linalg.norm((a.x - u) @ rest, axis=1) - np.log(np.exp(a.t).sum(axis=1))


def ref_residual(a: Arrays) -> np.ndarray:
    u = -np.linalg.pinv(a.w) @ a.b
    kept, _ = _principal(a.f - u, 6)
    return np.linalg.norm((a.x - u) - (a.x - u) @ kept @ kept.T, axis=1)


def ref_neco(a: Arrays) -> np.ndarray:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(a.f)
    kept = PCA(5).fit(scaler.transform(a.f)).transform(scaler.transform(a.x))
    return -np.linalg.norm(kept, axis=1) / np.linalg.norm(scaler.transform(a.x), axis=1) * a.t.max(axis=1)


def ref_pnml(a: Arrays) -> np.ndarray:
    f, x = a.unit
    inverse, p, out = np.linalg.pinv(f.T @ f), softmax(x @ a.w.T + a.b), []
    for r, q in zip(x, p, strict=True):
        g = (r @ inverse @ r) / (1 + r @ inverse @ r)
        out.append(np.log(sum(v / (v + (1 - v) * v**g) for v in q)) / np.log(len(q)))
    return np.array(out)


def ref_cop(a: Arrays) -> np.ndarray:
    f, x = a.unit
    mean, (values, vectors) = f.mean(axis=0), np.linalg.eigh(np.cov(f.T, bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    dim = next(k for k in range(1, 17) if values[:k].sum() / values.sum() >= 0.85)
    kept = vectors[:, :dim]
    return np.linalg.norm((x - mean) - (x - mean) @ kept @ kept.T, axis=1)


def ref_nystroem(a: Arrays) -> np.ndarray:
    """Reconstruction errors in the space that the landmarks' kernel functions span, without a feature map."""
    f, x = a.unit
    landmarks = f[np.argsort(np.log(np.exp(a.z).sum(axis=1)), kind="stable")[:30]]

    def kernel(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        return np.exp(-0.7 * ((one[:, None] - two[None]) ** 2).sum(axis=2))

    root = np.linalg.cholesky(kernel(landmarks, landmarks))
    phi, test = (
        np.linalg.solve(root, kernel(landmarks, p)).T for p in (f, x)
    )  # any root of K gives the same distances
    mean, (values, vectors) = phi.mean(axis=0), np.linalg.eigh(np.cov(phi.T, bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    dim = next(k for k in range(1, 31) if values[:k].sum() / values.sum() >= 0.9)
    kept = vectors[:, :dim]
    return np.linalg.norm((test - mean) - (test - mean) @ kept @ kept.T, axis=1)


def ref_gradnorm(a: Arrays) -> np.ndarray:
    """The gradient itself, by autograd."""
    out = []
    for x in a.x:
        w = torch.tensor(a.w, requires_grad=True)
        loss = -torch.log_softmax(torch.tensor(x) @ w.T + torch.tensor(a.b), dim=0).sum()
        out.append(-float(torch.autograd.grad(loss, w)[0].abs().sum()))
    return np.array(out)


def ref_nac(a: Arrays) -> np.ndarray:
    """The authors' thresholds, compared one by one."""
    half = np.log(np.linspace(1, np.sqrt(1000), 25)) / np.log(1000)
    edges = np.concatenate([half[:-1], (1 - half)[::-1]])
    edges[-1] += 0.01
    edges = np.append(edges, 1.2)

    def states(f: np.ndarray, z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-5.0 * f * ((softmax(z) - 1 / z.shape[1]) @ a.w)))

    train, test = states(a.f, a.z), states(a.x, a.t)
    out = np.zeros(len(test))
    for i in range(a.f.shape[1]):
        for low, high in itertools.pairwise(edges):
            n = ((train[:, i] >= low) & (train[:, i] < high)).sum()
            out[(test[:, i] >= low) & (test[:, i] < high)] -= min(n / 8, 1)
    return out / a.f.shape[1]


REFERENCES: dict[str, tuple[object, Callable[[Arrays], np.ndarray]]] = {
    "mds": ("mds", ref_mds),
    "mds++": ("mds++", ref_mds_pp),
    "rmds": ("rmds", ref_rmds),
    "ssd": ("ssd", ref_ssd),
    "gmm": ("gmm", ref_gmm),
    "she": ("she", ref_she),
    "ctm": ("ctm", ref_ctm),
    "max-cosine": ("max-cosine", ref_max_cosine),
    "fdbd": ("fdbd", ref_fdbd),
    "nci": ({"nci": {"alpha": 0.01}}, ref_nci),
    "knn": ({"knn": {"k": 7}}, ref_knn),
    "nnguide": ({"nnguide": {"k": 7}}, ref_nnguide),
    "relation": ({"relation": {"power": 2, "threshold": 0.2}}, ref_relation),
    "vim": ({"vim": {"dim": 6}}, ref_vim),
    "vim-mean": ({"vim": {"dim": 6, "origin": "mean"}}, lambda a: ref_vim(a, "mean")),
    "residual": ({"residual": {"dim": 6}}, ref_residual),
    "neco": ({"neco": {"dim": 5}}, ref_neco),
    "pnml": ("pnml", ref_pnml),
    "kpca": ({"kpca": {"kernel": "cosine", "variance": 0.85}}, ref_cop),
    "kpca-nystroem": (
        {"kpca": {"kernel": "nystroem", "gamma": 0.7, "features": 30, "variance": 0.9}},
        ref_nystroem,
    ),
    "gradnorm": ("gradnorm", ref_gradnorm),
    "nac": ({"nac": {"slope": 5.0, "fill": 8, "samples": None}}, ref_nac),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_scores_are_the_formulas(name: str) -> None:
    train, val, test = world()
    spec, reference = REFERENCES[name]
    score = fitted(spec, train, val).score(test).double().numpy()
    expected = reference(Arrays(train, test))
    np.testing.assert_allclose(score, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def test_every_feature_scorer_has_a_reference() -> None:
    here = {n for n in OWN if "features" in registry.build("scorer", n).needs}
    assert here == {n for n in REFERENCES if n in OWN} | set()


def test_random_fourier_features_approach_the_gaussian_kernel() -> None:
    """Inner products of phi are exp(-gamma ||x - y||^2), more nearly the more features there are."""
    train, _, test = world()
    gaps = []
    for count in (256, 16384):
        made = fitted({"kpca": {"gamma": 2.0, "features": count}}, train)
        unit = torch.nn.functional.normalize(test.features, dim=1)
        phi = made._phi(unit)
        gaps.append(float((phi @ phi.T - (-2.0 * torch.cdist(unit, unit).square()).exp()).abs().mean()))
    assert gaps[1] < 0.02
    assert gaps[1] < gaps[0] / 4


def test_corp_is_a_reconstruction_error() -> None:
    train, _, test = world()
    made = fitted({"kpca": {"features": 64, "variance": 0.8}}, train)
    phi = made._phi(torch.nn.functional.normalize(train.features, dim=1)).double().numpy()
    mean, (values, vectors) = phi.mean(axis=0), np.linalg.eigh(np.cov(phi.T, bias=True))
    kept = vectors[:, ::-1][
        :, : next(k for k in range(1, 65) if values[::-1][:k].sum() / values.sum() >= 0.8)
    ]
    x = made._phi(torch.nn.functional.normalize(test.features, dim=1)).double().numpy() - mean
    np.testing.assert_allclose(made.score(test), np.linalg.norm(x - x @ kept @ kept.T, axis=1), rtol=1e-4)
    again = fitted({"kpca": {"features": 64, "variance": 0.8}}, train)
    other = fitted({"kpca": {"features": 64, "variance": 0.8, "seed": 1}}, train)
    assert torch.equal(again.score(test), made.score(test))
    assert not torch.equal(other.score(test), made.score(test))


def test_streamed_statistics_are_those_of_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks far smaller than the training set, features kept mapped instead of copied, probabilities made
    again."""
    train, val, test = world()
    names = [n for n in OWN if "features" in registry.build("scorer", n).needs and n != "kpca"]
    whole = {n: fitted(n, train, val).score(test).double() for n in names}
    monkeypatch.setattr(functional, "BLOCK", 64)
    blocks = functional.blocks
    monkeypatch.setattr(functional, "blocks", lambda tensor, size=64: blocks(tensor, size))
    monkeypatch.setattr(functional.Bank, "COPY", 0)
    monkeypatch.setattr(neighbours.Relation, "HOLD", 0)
    monkeypatch.setattr(neighbours.Relation, "COLUMNS", 50)
    train, val, test = world()  # nothing memoised
    for n in names:
        streamed = fitted(n, train, val).score(test).double()
        torch.testing.assert_close(
            streamed, whole[n], rtol=1e-4, atol=1e-5 * float(whole[n].abs().max()), msg=n
        )


def test_rows_without_a_label_are_no_class() -> None:
    train, val, test = world()
    part = train.labels.clone()
    part[::3] = -1
    some = Outputs(train.logits, train.features, part, train.head)
    keep = part >= 0
    for name in ("mds", "mds++", "ssd", "gmm", "ctm", "igeood", "openmax"):
        mixed, alone = (
            fitted(name, some, val).score(test).double(),
            fitted(name, train[keep], val).score(test).double(),
        )
        torch.testing.assert_close(mixed, alone, rtol=1e-6, atol=1e-8, msg=name)


def test_covariances_too_many_to_hold_are_of_principal_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    train, _, test = world()
    monkeypatch.setattr(densities, "_MEMORY", 8 * 4 * 9**2)
    for name in ("ssd", "gmm"):
        with pytest.raises(ValueError, match=rf"set {name}'s dim to at most 9"):
            fitted({name: {"dim": 16}}, train)
        nine = fitted({name: {"dim": 9}}, train).score(test)
        assert len(nine.unique()) == len(test)
        assert torch.equal(fitted(name, train).score(test), nine)
    one = fitted({"ssd": {"clusters": "one"}}, train)
    assert one.reduce.directions is None  # a single covariance has room for all


def test_nnguides_bank_is_a_random_part_that_its_seed_fixes() -> None:
    train, _, test = world()
    one, again, other = (fitted({"nnguide": {"fraction": 0.1, "k": 5, "seed": s}}, train) for s in (0, 0, 1))
    assert one.drawn is not None
    assert len(one.drawn.unique()) == 30
    assert len(train.labels[one.drawn].unique()) == 4
    assert torch.equal(one.score(test), again.score(test))
    assert not torch.equal(one.score(test), other.score(test))


def test_knn_does_not_cancel_where_features_collapse() -> None:
    """Where features differ by 1e-3 of their norm, 2 - 2 cos in float32 is wrong by several per cent."""
    rng = torch.Generator().manual_seed(1)
    direction = torch.nn.functional.normalize(torch.randn(1, 64, generator=rng), dim=1)
    f, x = (direction + 5e-5 * torch.randn(n, 64, generator=rng) for n in (400, 100))
    made = fitted({"knn": {"k": 400}}, Outputs(torch.zeros(400, 3), f))
    score = made.score(Outputs(torch.zeros(100, 3), x)).double()
    unit, query = (torch.nn.functional.normalize(t.double(), dim=1) for t in (f, x))
    expected = torch.cdist(query, unit, compute_mode="donot_use_mm_for_euclid_dist").amax(dim=1)
    naive = (2 - 2 * (query.float() @ unit.float().T)).amax(dim=1).clamp(min=0).sqrt().double()
    assert float((score / expected - 1).abs().median()) < 0.5 * float((naive / expected - 1).abs().median())


# ---------------------------------------------------------------- OpenOOD's scores

OPENOOD: dict[str, object] = {
    "vim": {"vim": {"dim": 32}},
    "residual": {"residual": {"dim": 32, "fit_on": "val"}},
}


@pytest.mark.parametrize(("reference", "source"), [("vim", "train"), ("residual", "val")])
def test_openoods_residual_space_is_rounded(reference: str, source: str, shared: Path) -> None:
    """OpenOOD's vim and residual take the covariance in float32. Its largest eigenvalue is 348 here, those
    about the cut at 32 are
    0.0075 and 0.0069: rounding the entries by 1e-5 turns the residual space by about 1e-5 / 6e-4. (The
      eigenvectors are not to blame: eig and eigh agree on either covariance.) The same formula gives
      OpenOOD's scores from a float32 covariance, and ours from a float64 one."""
    file = np.load(shared / "parity" / "digits-mlp.npz")
    made = fitted(OPENOOD[reference], reference_outputs(file, "train"), reference_outputs(file, "val"))

    def scores(
        part: str, precision: type, solver: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    ) -> np.ndarray:
        u = -np.linalg.pinv(file["head.weight"]) @ file["head.bias"]
        f = file[f"{source}.features"].astype(precision) - u
        values, vectors = solver(f.T @ f / len(f))
        rest = vectors.real[:, np.argsort(-values.real)[32:]].astype(np.float64)

        def residual(x: np.ndarray) -> np.ndarray:
            return np.linalg.norm((x.astype(np.float64) - u) @ rest, axis=1)

        if reference == "residual":
            return residual(file[f"{part}.features"])
        alpha = (
            file["train.logits"].max(axis=1).mean(dtype=np.float64) / residual(file["train.features"]).mean()
        )
        energy = np.log(np.exp(file[f"{part}.logits"].astype(np.float64)).sum(axis=1))
        return alpha * residual(file[f"{part}.features"]) - energy

    for part in ("id_test", "ood_test"):
        theirs = -file[f"openood.{reference}.{part}"]
        ours = made.score(reference_outputs(file, part)).double().numpy()
        size = np.abs(theirs).max()
        for solver in (np.linalg.eig, np.linalg.eigh):
            assert np.abs(scores(part, np.float32, solver) - theirs).max() < 1e-5 * size
        assert np.abs(scores(part, np.float64, np.linalg.eigh) - ours).max() < 1e-6 * size
        assert np.abs(ours - theirs).max() > 1e-4 * size
