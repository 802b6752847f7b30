"""Every registered scorer at the edges: right or one clear error, never NaN or a silent constant. A new one
is covered as it registers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from tests.scoring.outputs import blobs, by_default, fitted, with_extras, with_features, world

registry.load_builtin()
EVERY = list(registry.scorers)


def _missing_class(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return train[train.labels != 2], test


def _none_right(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    logits = train.logits.clone()
    logits[:, 1] = logits.amin(dim=1) - 1
    return Outputs(logits, train.features, train.labels, train.head), test


def _all_wrong(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return Outputs(train.logits.roll(1, dims=1), train.features, train.labels, train.head), test


def _zero_rows(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    both = []
    for o in (train, test):
        features = o.features.clone()
        features[::7] = 0
        both.append(with_features(o, features))
    return both[0], both[1]


def _dead_columns(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    both = []
    for o in (train, test):
        features = o.features.clone()
        features[:, :3], features[:, 3] = 0, 2.5
        both.append(with_features(o, features))
    return both[0], both[1]


def _dead_on_train(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return _dead_columns(train, train)[0], test


def _constant_train(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return with_features(train, train.features[:1].expand(len(train), -1).contiguous()), test


def _collapsed(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    """Every sample of a class is the same: no spread within classes."""
    first = torch.stack([train.features[train.labels == c][0] for c in range(train.classes)])
    return with_features(train, first[train.labels]), test


def _duplicates(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    index = torch.arange(40).repeat_interleave(6)
    return train[index], with_features(test, torch.cat([train.features[:20], test.features[20:]]))


def _few(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return train[:9], test


def _one_each(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return train[: train.classes], test


def _confident(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return tuple(Outputs(300 * o.logits, o.features, o.labels, o.head) for o in (train, test))  # type: ignore[return-value]


def _equal_logits(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    logits = test.logits.clone()
    logits[::5] = 0.25
    return train, Outputs(logits, test.features, test.labels, test.head)


def _tiny(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return tuple(with_features(o, 1e-4 * o.features) for o in (train, test))  # type: ignore[return-value]


def _huge(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return tuple(with_features(o, 1e3 * o.features) for o in (train, test))  # type: ignore[return-value]


def _negative(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    """Features of both signs, as of a network that does not end in a ReLU."""
    return tuple(with_features(o, o.features - train.features.mean()) for o in (train, test))  # type: ignore[return-value]


def _unlabelled(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return Outputs(train.logits, train.features, None, train.head), test


def _same(train: Outputs, test: Outputs) -> tuple[Outputs, Outputs]:
    return train, test


CASES: dict[str, tuple[dict[str, int], Callable[[Outputs, Outputs], tuple[Outputs, Outputs]]]] = {
    "ordinary": ({}, _same),
    "D = 3": ({"width": 3, "classes": 3}, _same),
    "D = 1": ({"width": 1, "classes": 3}, _same),
    "C = 2": ({"classes": 2}, _same),
    "C = 1000": ({"classes": 1000, "width": 24, "count": 3000}, _same),
    "D > N": ({"width": 300, "count": 60}, _same),
    "a class without samples": ({}, _missing_class),
    "a class that none is right in": ({}, _none_right),
    "nobody right": ({}, _all_wrong),
    "zero rows": ({}, _zero_rows),
    "columns that never vary": ({}, _dead_columns),
    "columns that vary only at test": ({}, _dead_on_train),
    "constant training features": ({}, _constant_train),
    "classes without spread": ({}, _collapsed),
    "duplicates": ({}, _duplicates),
    "nine training samples": ({}, _few),
    "one training sample a class": ({}, _one_each),
    "logits of a thousand": ({}, _confident),
    "equal logits": ({}, _equal_logits),
    "features of 1e-4": ({}, _tiny),
    "features of 1e3": ({}, _huge),
    "negative features": ({}, _negative),
    "no training labels": ({}, _unlabelled),
}

_BY_COVARIANCE = {"mds", "mds++", "rmds", "ssd", "fisher", "mds-layers"}
_BY_NEIGHBOURS = {"knn", "nnguide", "fisher"}
REFUSED: dict[str, set[str]] = {
    "nine training samples": _BY_NEIGHBOURS,
    "D > N": {"nnguide"},
    "constant training features": _BY_COVARIANCE | {"kpca", "neco"},
    "classes without spread": _BY_COVARIANCE,
    "one training sample a class": _BY_COVARIANCE | _BY_NEIGHBOURS,
    "C = 2": {"mls-pnorm"},
    "no training labels": _BY_COVARIANCE | {"ctm", "gmm", "igeood", "openmax"},
}
"""Where no score exists and the scorer says so; everywhere else it must give one."""


def edge(name: str) -> tuple[Outputs, Outputs, Outputs]:
    """Training, validation and test outputs of a case, with everything that any view or head would add."""
    sizes, change = CASES[name]
    sizes = dict(sizes)
    count = sizes.pop("count", 240)
    train, val, test = (blobs(n, seed=s, **sizes) for s, n in ((1, count), (2, max(count // 4, 40)), (3, 60)))
    ood = blobs(30, seed=4, ood=True, **sizes)
    both = with_features(test, torch.cat([test.features, ood.features]), torch.cat([test.labels, ood.labels]))
    train, both = change(train, both)
    return with_extras(train), with_extras(val), with_extras(both)


def _attempt(made: Scorer, train: Outputs, val: Outputs, test: Outputs) -> tuple[Tensor | None, str]:
    """Scores, or None and what the error says; anything else that is raised is a fault."""
    try:
        made.fit(train if "train" in made.needs else None, val if "val" in made.needs else None)
        with torch.no_grad():
            return made.score(test), ""
    except (ValueError, UserError) as error:
        return None, str(error)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", EVERY)
def test_at_the_edges_a_score_or_one_clear_error(name: str, case: str) -> None:
    train, val, test = edge(case)
    score, refusal = _attempt(by_default(name), train, val, test)
    assert (score is None) == (name in REFUSED.get(case, set())), refusal
    if score is None:
        assert len(refusal) > 10
        assert "\n" not in refusal
        return
    assert score.shape == (len(test),)
    assert bool(torch.isfinite(score).all()), f"{int((~torch.isfinite(score)).sum())} not finite"
    assert len(score.unique()) > 1, "a constant"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_half_precision_outputs_score_like_their_float32_values(name: str, dtype: torch.dtype) -> None:
    half = [o.map(lambda t: t.to(dtype) if t.is_floating_point() else t) for o in edge("ordinary")]
    wide = [o.map(lambda t: t.float() if t.is_floating_point() else t) for o in half]
    scores = []
    for train, val, test in (half, wide):
        made = by_default(name)
        made.fit(train if "train" in made.needs else None, val if "val" in made.needs else None)
        scores.append(made.score(test).double())
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-5, atol=1e-5 * float(scores[1].abs().max()))


@pytest.mark.parametrize("name", EVERY)
def test_mapped_strided_and_single_samples_score_the_same(name: str, tmp_path: Path) -> None:
    train, val, test = edge("ordinary")
    made = by_default(name)

    def mapped(t: Tensor) -> Tensor:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.bin"
        file.write_bytes(t.contiguous().numpy().tobytes())
        return torch.from_file(str(file), size=t.numel(), dtype=t.dtype).view(t.shape)

    def strided(t: Tensor) -> Tensor:
        return torch.stack([t, t], dim=-1)[..., 0]

    found = []
    for change in (lambda t: t, mapped, strided):
        tr, va, te = (o.map(change) for o in (train, val, test))
        made.fit(tr if "train" in made.needs else None, va if "val" in made.needs else None)
        found.append(made.score(te).double())
    scale = float(found[0].abs().max())
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5 * scale)
    torch.testing.assert_close(found[2], found[0], rtol=1e-5, atol=1e-5 * scale)
    alone = torch.cat([made.score(test[i : i + 1]).double() for i in (0, 17, 70)])
    torch.testing.assert_close(alone, found[0][[0, 17, 70]], rtol=1e-4, atol=1e-5 * scale)


def _other(spec: dict[str, object]) -> Tensor:
    return fitted(spec, *world()[:2]).score(world()[2])


@pytest.mark.parametrize(
    "specs",
    [
        [{"react": {"percentile": q}} for q in (50.0, 80.0, 95.0)],
        [{"ash": {"percentile": q}} for q in (50.0, 80.0, 95.0)],
        [{"dice": {"percentile": q}} for q in (30.0, 60.0, 90.0)],
        [{"vra": {"high": q}} for q in (70.0, 80.0, 95.0)],
        [{"optfs": {"bins": b}} for b in (50, 100, 200)], [{"knn": {"k": k}} for k in (1, 5, 50)],
    ],
    ids=lambda s: str(next(iter(s[0]))),
)  # fmt: skip
def test_what_outputs_memoise_for_one_scorer_is_not_taken_for_another(specs: list[dict[str, object]]) -> None:
    """Of scorers that follow one another on the same outputs, and may lie at the same address."""
    train, val, test = world()
    for spec in specs:
        made = fitted(spec, train, val)
        assert torch.equal(made.score(test), _other(spec)), spec
        del made
        gc.collect()


@pytest.mark.parametrize("name", EVERY)
def test_a_scorer_fitted_again_forgets_the_first_fit(name: str) -> None:
    train, val, test = (with_extras(o) for o in world())
    part, few = train[:120], val[:30]
    part.head = train.head
    made, fresh = by_default(name), by_default(name)
    for tr, va in ((train, val), (part, few)):
        made.fit(tr if "train" in made.needs else None, va if "val" in made.needs else None)
        again = made.score(test)
    fresh.fit(part if "train" in fresh.needs else None, few if "val" in fresh.needs else None)
    torch.testing.assert_close(again, fresh.score(test.map(lambda t: t)), rtol=1e-5, atol=1e-6)
