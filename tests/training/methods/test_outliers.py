"""Methods that learn from outliers: their loss against slow references."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from tests.training.methods.common import (
    CLASSES,
    TASK,
    ce,
    data,
    dot,
    gradcheck,
    made,
    mean,
    norm,
    rng,
    rows,
    softmax,
)


def exposed(count: int = 12, outliers: int = 9, **more: Any) -> Batch:
    other = torch.rand(outliers, 1, 8, 8, generator=rng(8), dtype=torch.float64)
    return data(count, outliers=other, **more)


def lse(z: list[float]) -> float:
    return max(z) + math.log(sum(math.exp(v - max(z)) for v in z))


def uniform(z: list[float]) -> float:
    return -mean([math.log(p) for p in softmax(z)])


def als(z: list[float], y: int, lam: float) -> float:
    p = softmax(z)
    rest = [q for c, q in enumerate(p) if c != z.index(max(z))]
    m = mean(rest)
    return ce(z, y) + lam * math.sqrt(sum((q - m) ** 2 for q in rest) / (len(rest) - 1))


def seen(network: Network, batch: Batch) -> tuple[list[list[float]], list[list[float]], list[int]]:
    """Logits of known samples and of outliers, and labels; in evaluation mode, so that they do not depend on
    one another."""
    assert batch.outliers is not None
    return rows(network(batch.inputs)), rows(network(batch.outliers)), batch.labels.tolist()


CASES: dict[str, tuple[Any, Any]] = {
    "outlier-exposure": (
        {"outlier-exposure": {"lam": 0.7}},
        lambda i, o, y: (
            mean([ce(z, c) for z, c in zip(i, y, strict=True)]) + 0.7 * mean([uniform(z) for z in o])
        ),
    ),
    "outlier-exposure of als": (
        {"outlier-exposure": {"of": {"als": {"lam": 4}}}},
        lambda i, o, y: (
            mean([als(z, c, 4) for z, c in zip(i, y, strict=True)]) + 0.5 * mean([uniform(z) for z in o])
        ),
    ),
    "energy-bounded": (
        {"energy-bounded": {"alpha": 0.3, "m_in": -2.5, "m_out": -0.5}},
        lambda i, o, y: (
            mean([ce(z, c) for z, c in zip(i, y, strict=True)])
            + 0.3 * mean([max(0.0, -lse(z) + 2.5) ** 2 for z in i])
            + 0.3 * mean([max(0.0, -0.5 + lse(z)) ** 2 for z in o])
        ),
    ),
    "entropic-open-set": (
        "entropic-open-set",
        lambda i, o, y: mean([ce(z, c) for z, c in zip(i, y, strict=True)] + [uniform(z) for z in o]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_is_the_reference(name: str) -> None:
    spec, reference = CASES[name]
    network, method = made(spec)
    network.eval()
    batch = exposed()
    assert float(method.loss(network, batch).detach()) == pytest.approx(reference(*seen(network, batch)))
    gradcheck(network, lambda: method.loss(network, batch))


def test_objectosphere_shrinks_outliers_and_grows_known_features() -> None:
    network, method = made({"objectosphere": {"alpha": 0.2, "xi": 3.0}})
    network.eval()
    batch = exposed()
    inside, outside, labels = seen(network, batch)
    assert batch.outliers is not None
    f, g = rows(network.features(batch.inputs)), rows(network.features(batch.outliers))
    terms = [ce(z, y) + 0.2 * max(0.0, 3 - norm(v)) ** 2 for z, y, v in zip(inside, labels, f, strict=True)]
    terms += [uniform(z) + 0.2 * dot(v, v) for z, v in zip(outside, g, strict=True)]
    assert any(norm(v) < 3 for v in f)
    assert float(method.loss(network, batch).detach()) == pytest.approx(mean(terms))
    gradcheck(network, lambda: method.loss(network, batch))


def test_background_class_is_one_more_logit() -> None:
    network, method = made("background-class")
    network.eval()
    batch = exposed()
    inside, outside, labels = seen(network, batch)
    assert batch.outliers is not None
    heads = network.heads["background"]
    b, c = rows(heads(network.features(batch.inputs))), rows(heads(network.features(batch.outliers)))
    terms = [ce(z + v, y) for z, v, y in zip(inside, b, labels, strict=True)]
    terms += [ce(z + v, CLASSES) for z, v in zip(outside, c, strict=True)]
    assert float(method.loss(network, batch).detach()) == pytest.approx(mean(terms))
    gradcheck(network, lambda: method.loss(network, batch))
    outputs = Outputs(torch.tensor(inside), extras={"background": torch.tensor(b)})
    score = registry.build("scorer", "background").score(outputs)
    expected = [
        math.log(softmax(z + v)[-1] / (1 - softmax(z + v)[-1])) for z, v in zip(inside, b, strict=True)
    ]
    torch.testing.assert_close(score, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_mixoe_mixes_each_sample_with_its_outlier(mix: str) -> None:
    network, method = made({"mixoe": {"mix": mix, "alpha": 2.0, "beta": 2.0, "lam": 0.4}})
    network.eval()
    batch = exposed(outliers=12)
    met: list[Tensor] = []
    network.body.register_forward_pre_hook(
        lambda _, args: met.append(args[0].detach() * network.std + network.mean)
    )
    loss = float(method.loss(network, batch).detach())
    assert batch.outliers is not None
    clean, mixed = met[0], met[1]
    torch.testing.assert_close(clean, batch.inputs)
    change = (mixed - batch.inputs) / (batch.outliers - batch.inputs)
    share = 1 - float(change.mean())  # mixup: the same everywhere; cutmix: the area left
    if mix == "mixup":
        assert float(change.std()) < 1e-6
    else:
        assert set(change.round(decimals=6).unique().tolist()) <= {0.0, 1.0}
    labels = batch.labels.tolist()
    z, m = rows(network(batch.inputs)), rows(network(mixed))
    known = mean([ce(v, y) for v, y in zip(z, labels, strict=True)])
    soft = mean([share * ce(v, y) + (1 - share) * uniform(v) for v, y in zip(m, labels, strict=True)])
    assert loss == pytest.approx(known + 0.4 * soft, rel=1e-6)


def test_mcd_parts_the_heads_on_outliers_late_in_training() -> None:
    network, method = made({"mcd": {"lam": 0.6, "margin": 1.0, "start": 0.5}})
    network.eval()
    batch = exposed()
    assert batch.outliers is not None
    inside, outside, labels = seen(network, batch)
    second = rows(network.heads["mcd"](network.features(batch.inputs)))
    other = rows(network.heads["mcd"](network.features(batch.outliers)))
    known = mean([ce(z, y) + ce(w, y) for z, w, y in zip(inside, second, labels, strict=True)])

    def entropy(z: list[float]) -> float:  # over classes, one number per sample
        return -sum(p * math.log(p) for p in softmax(z))

    gap = mean([entropy(z) - entropy(w) for z, w in zip(outside, other, strict=True)])
    early, late = (float(method.loss(network, batch._replace(progress=p)).detach()) for p in (0.49, 0.5))
    assert early == pytest.approx(known)
    assert late == pytest.approx(known + 0.6 * max(0.0, 1.0 - gap))
    gradcheck(network, lambda: method.loss(network, batch._replace(progress=0.9)))
    outputs = Outputs(torch.tensor(inside), extras={"mcd": torch.tensor(second)})
    expected = [
        sum(abs(a - b) for a, b in zip(softmax(z), softmax(w), strict=True))
        for z, w in zip(inside, second, strict=True)
    ]
    torch.testing.assert_close(
        registry.build("scorer", "mcd").score(outputs),
        torch.tensor(expected, dtype=torch.float64),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ["outlier-exposure", "energy-bounded", "mixoe"])
def test_what_is_no_criterion_is_refused(name: str) -> None:
    method: Method = registry.build("method", {name: {"of": "mixup"}})
    with pytest.raises(NotApplicable, match=rf"method '{name}': of: mixup is no criterion"):
        method.setup(Network(TASK, torch.nn.Flatten(), torch.nn.Linear(64, CLASSES)))


def test_a_wrapper_asks_for_the_outliers_of_the_inner_method() -> None:
    method: Method = registry.build("method", {"adversarial": {"of": "outlier-exposure"}})
    assert method.needs == {"outliers"}
