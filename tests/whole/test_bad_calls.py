"""Wrong arguments in code: `Outputs`, `score_all`, scorers by themselves, `metrics` and `stats`. Each case
ends in one UserError of one line that says what is missing or wrong, never in another library's error, an
assertion or numbers without a word. What is unusual and right gives the numbers of the plain form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from oodbench import Head, Outputs, Scorer, build, metrics, score_all, stats
from oodbench.core import registry
from oodbench.core.errors import UserError
from tests.scoring.outputs import by_default

Call = Callable[[], Any]
RNG = torch.Generator().manual_seed(0)
W, B = torch.randn(3, 8, generator=RNG), torch.randn(3, generator=RNG)


def made(n: int, *, head: bool = True, **changes: Any) -> Outputs:
    """Outputs of one network, with some of their parts changed."""
    f = torch.randn(n, 8, generator=RNG).abs()
    z = f @ W.T + B
    parts = {"logits": z, "features": f, "labels": z.argmax(1), "head": Head(W, B) if head else None}
    return Outputs(**parts | changes)


def spoilt(outputs: Outputs, part: str, value: float = float("nan")) -> Outputs:
    """With one value that is not finite."""
    parts = {"logits": outputs.logits.clone(), "features": outputs.features.clone()}
    parts[part][3, 1] = value
    return Outputs(**parts, labels=outputs.labels, head=outputs.head)


TRAIN, VAL, TEST = made(60), made(60), made(20)
BARE = Outputs(TEST.logits)
Z, F, Y = TEST.logits, TEST.features, TEST.labels
WIDE = made(20, logits=torch.randn(20, 4, generator=RNG), labels=None, head=None)
NARROW = made(20, features=torch.randn(20, 5, generator=RNG), head=None)


def scored(scorers: Any, train: Any = TRAIN, val: Any = VAL, test: Any = TEST) -> Call:
    return lambda: score_all(scorers, train, val, {"t": test})


def raising(error: BaseException) -> Scorer:
    class Raises(Scorer):
        def score(self, outputs: Outputs) -> Tensor:
            raise error

    return Raises()


def giving(scores: Callable[[int], Any]) -> Scorer:
    class Gives(Scorer):
        def score(self, outputs: Outputs) -> Tensor:
            return scores(len(outputs))

    return Gives()


OUTPUTS: dict[str, tuple[Call, str]] = {
    "numpy": (lambda: Outputs(Z.numpy()), "logits should be a torch.Tensor, got ndarray"),
    "list": (lambda: Outputs([[1.0, 2.0]]), "logits should be a torch.Tensor, got list"),
    "none": (lambda: Outputs(None), "logits should be a torch.Tensor, got NoneType"),
    "flat": (lambda: Outputs(Z[:, 0]), "logits should have the shape (N, C), got (20,)"),
    "scalar": (lambda: Outputs(Z[0, 0]), "logits should have a row for each sample"),
    "3-d": (lambda: Outputs(Z[None]), "logits should have the shape (N, C), got (1, 20, 3)"),
    "one class": (lambda: Outputs(Z[:, :1]), "logits should be of at least two classes"),
    "no class": (lambda: Outputs(Z[:, :0]), "logits should have the shape (N, C), got (20, 0)"),
    "integers": (lambda: Outputs(Z.long()), "logits should be floating-point numbers, got torch.int64"),
    "complex": (lambda: Outputs(Z + 0j), "logits should be floating-point numbers, got torch.complex64"),
    "bool": (lambda: Outputs(Z > 0), "logits should be floating-point numbers, got torch.bool"),
    "beyond": (lambda: Outputs(Z.double() * 1e300), "logits hold values beyond float32"),
    "features numpy": (lambda: Outputs(Z, F.numpy()), "features should be a torch.Tensor, got ndarray"),
    "features flat": (lambda: Outputs(Z, F[:, 0]), "features should have the shape (N, D), got (20,)"),
    "features few": (lambda: Outputs(Z, F[1:]), "logits has 20 samples, but features has 19"),
    "features empty": (lambda: Outputs(Z, F[:, :0]), "features should have the shape (N, D), got (20, 0)"),
    "features complex": (lambda: Outputs(Z, F + 0j), "features should be floating-point numbers"),
    "features maps": (lambda: Outputs(Z, F[:, :, None]), "features should have the shape (N, D)"),
    "labels float": (
        lambda: Outputs(Z, F, Y.float()),
        "labels should be integers, the numbers of the classes",
    ),
    "labels bool": (lambda: Outputs(Z, F, Y > 0), "labels should be integers, the numbers of the classes"),
    "labels complex": (lambda: Outputs(Z, F, Y + 0j), "labels should be integers"),
    "labels numpy": (lambda: Outputs(Z, F, Y.numpy()), "labels should be a torch.Tensor, got ndarray"),
    "labels list": (lambda: Outputs(Z, F, Y.tolist()), "labels should be a torch.Tensor, got list"),
    "labels column": (lambda: Outputs(Z, F, Y[:, None]), "labels should have the shape (N,), got (20, 1)"),
    "labels few": (lambda: Outputs(Z, F, Y[1:]), "logits has 20 samples, but labels has 19"),
    "head tuple": (lambda: Outputs(Z, F, Y, (W, B)), "head should be oodbench.Head(weight, bias), got tuple"),
    "head module": (lambda: Outputs(Z, F, Y, torch.nn.Linear(8, 3)), "head should be oodbench.Head"),
    "head of 4": (
        lambda: Outputs(Z, F, Y, Head(torch.ones(4, 8), torch.ones(4))),
        "head.weight should have the shape (3, 8), got (4, 8)",
    ),
    "head turned": (lambda: Outputs(Z, F, Y, Head(W.T, B)), "head.weight should have the shape (3, 8)"),
    "bias of 1": (lambda: Outputs(Z, F, Y, Head(W, B[:1])), "head.bias should have the shape (3,), got (1,)"),
    "bias none": (lambda: Outputs(Z, F, Y, Head(W, None)), "head.bias should be a torch.Tensor"),
    "head numpy": (
        lambda: Outputs(Z, F, Y, Head(W.numpy(), B.numpy())),
        "head.weight should be a torch.Tensor",
    ),
    "extras list": (lambda: Outputs(Z, extras=[Z]), "extras should be {name: tensor}, got list"),
    "extras number": (lambda: Outputs(Z, extras={"a": 1}), "extras['a'] should be a torch.Tensor, got int"),
    "extras scalar": (lambda: Outputs(Z, extras={"a": Z[0, 0]}), "extras['a'] should have a row"),
    "extras few": (lambda: Outputs(Z, extras={"a": Z[1:]}), "logits has 20 samples, but extras['a'] has 19"),
    "index int": (lambda: TEST[0], "outputs are indexed by a slice"),
    "index uint8": (lambda: TEST[torch.tensor([1, 2], dtype=torch.uint8)], "got torch.uint8"),
    "index float": (lambda: TEST[torch.tensor([1.0])], "got torch.float32"),
    "iteration": (lambda: list(TEST), "outputs are indexed by a slice"),
    "no features": (lambda: BARE.features, "these outputs hold no features, only logits"),
    "no head": (lambda: BARE.required_head, "these outputs hold no head (weight and bias)"),
    "no extra": (lambda: BARE.extras["x"], "these outputs hold no extra 'x'; there: none"),
}
SCORES: dict[str, tuple[Call, str]] = {
    "knn, no train": (scored(["knn"], None), "scorer 'knn' needs train: give outputs of the ID training set"),
    "klm, no val": (
        scored(["klm"], val=None),
        "scorer 'klm' needs val: give outputs of the ID validation set",
    ),
    "under a label": (scored({"mine": "knn"}, None), "scorer 'mine' needs train"),
    "knn, no features": (
        scored(["knn"], test=BARE),
        "scorer 'knn' needs features, and set 't' holds only logits",
    ),
    "knn, train bare": (
        scored(["knn"], Outputs(Z)),
        "scorer 'knn' needs features, and train holds only logits",
    ),
    "react, no head": (
        scored(["react"], made(60, head=False), None, made(9, head=False)),
        "scorer 'react' needs a linear head (weight and bias), and none of the outputs has one",
    ),
    "react, no head in a set": (
        scored(["react"], test=made(9, head=False)),
        "hold no head (weight and bias)",
    ),
    "vim, no head in train": (scored(["vim"], made(60, head=False)), "these outputs hold no head"),
    "odin": (scored(["odin"]), "scorer 'odin' needs a network to look into (view 'perturbation')"),
    "odin, other extras": (
        scored(["odin"], test=made(9, extras={"x": torch.ones(9)})),
        "these outputs hold no extra 'perturbation.logits'; there: x",
    ),
    "confidence": (scored(["confidence"]), "scorer 'confidence' reads the extra 'confidence', which set 't'"),
    "disagreement": (scored(["disagreement"]), "reads the extra 'members.logits'"),
    "labels 1..C": (
        scored(["mds"], made(60, labels=torch.arange(60) % 3 + 1)),
        "scorer 'mds' cannot be fitted: train: labels should lie in 0..2, or be -1 where unknown, got 1..3",
    ),
    "labels below -1": (scored(["mds"], made(60, labels=torch.full((60,), -7))), "got -7..-7"),
    "val labels": (
        scored(["klm"], val=made(60, labels=torch.full((60,), 9))),
        "val: labels should lie in 0..2",
    ),
    "no label": (scored(["mds"], made(60, labels=None)), "no training sample has a known class"),
    "train features nan": (
        scored(["knn"], spoilt(TRAIN, "features")),
        "train: features of 1 of 60 samples are not finite",
    ),
    "train logits inf": (
        scored(["mds"], spoilt(TRAIN, "logits", np.inf)),
        "train: logits of 1 of 60 samples are not finite",
    ),
    "val logits nan": (scored(["klm"], val=spoilt(VAL, "logits")), "val: logits of 1 of 60 samples"),
    "set logits nan": (
        scored(["msp"], test=spoilt(TEST, "logits")),
        "scorer 'msp' on set 't': logits of 1 of 20 samples are not finite",
    ),
    "set features nan": (scored(["knn"], test=spoilt(TEST, "features")), "features of 1 of 20 samples"),
    "a tensor": (scored(["msp"], test=Z), "set 't' should be an oodbench.Outputs, got Tensor"),
    "an array": (scored(["msp"], test=Z.numpy()), "set 't' should be an oodbench.Outputs, got ndarray"),
    "train a tensor": (scored(["knn"], F), "train should be an oodbench.Outputs, got Tensor"),
    "val a list": (scored(["msp"], val=[VAL]), "val should be an oodbench.Outputs, got list"),
    "sets a list": (
        lambda: score_all(["msp"], None, None, [TEST]),
        "sets should be {name: oodbench.Outputs}",
    ),
    "sets outputs": (lambda: score_all(["msp"], None, None, TEST), "sets should be {name: oodbench.Outputs}"),
    "sets none": (lambda: score_all(["msp"], None, None, None), "sets should be {name: oodbench.Outputs}"),
    "empty set": (scored(["msp"], test=TEST[:0]), "set 't' has no samples"),
    "classes differ": (
        scored(["msp"], test=WIDE),
        "set 't': logits have the shape (N, 4), but (N, 3) in train",
    ),
    "width differs": (scored(["knn"], test=NARROW), "features have the shape (N, 5), but (N, 8) in train"),
    "head differs": (
        scored(["react"], test=Outputs(Z, F, Y, Head(W + 1, B))),
        "set 't': the head is another one than in train",
    ),
    "head of another": (
        lambda: score_all(["max-cosine"], None, None, {"t": Outputs(Z, F, Y, Head(-W, B))}),
        "set 't': logits are not features @ head.weight.T + head.bias",
    ),
    "head nan": (
        lambda: score_all(["msp"], None, None, {"t": Outputs(Z, F, Y, Head(W * np.nan, B))}),
        "is not finite",
    ),
    "probabilities": (
        lambda: score_all(["msp"], None, None, {"t": Outputs(torch.softmax(Z, 1))}),
        "give log p or logits",
    ),
    "a name": (scored("msp"), "scorers should be a list of names or scorers, or {label: scorer}, got 'msp'"),
    "a scorer": (scored(build("scorer", "msp")), "scorers should be a list"),
    "none": (scored(None), "scorers should be a list"),
    "a number": (scored([3]), "a scorer should be a name"),
    "unknown": (scored(["mps"]), "unknown scorer 'mps'; did you mean"),
    "bad parameter": (scored([{"knn": {"k": 0}}]), "k"),
    **{
        f"raises {type(error).__name__}": (scored({"mine": raising(error)}), said)
        for error, said in [
            (TypeError("one\ntwo"), "scorer 'mine' on set 't': TypeError: one two"),
            (AttributeError("gone"), "AttributeError: gone"),
            (AssertionError(), "set 't': AssertionError"),
            (MemoryError(), "set 't': MemoryError"),
            (OverflowError("large"), "OverflowError: large"),
            (KeyError("x"), "KeyError: 'x'"),
            (NotImplementedError(), "NotImplementedError"),
            (StopIteration(), "StopIteration"),
            (OSError(28, "No space left on device"), "No space left"),
            (torch.cuda.OutOfMemoryError("CUDA out of memory"), "OutOfMemoryError: CUDA out of memory"),
            (RecursionError("deep"), "RecursionError: deep"),
            (UserError("mine alone"), "mine alone"),
        ]
    },
    "gives None": (scored({"g": giving(lambda n: None)}), "scores should have the shape (20,), got NoneType"),
    "gives a column": (
        scored({"g": giving(lambda n: torch.ones(n, 1))}),
        "should have the shape (20,), got (20, 1)",
    ),
    "gives complex": (scored({"g": giving(lambda n: torch.ones(n) + 0j)}), "scores should be real numbers"),
    "gives nan": (
        scored({"g": giving(lambda n: torch.full((n,), np.nan))}),
        "20 of 20 scores are not finite",
    ),
    "unfitted knn": (lambda: build("scorer", "knn").score(TEST), "was it fitted?"),
    "unfitted mds": (lambda: build("scorer", "mds").score(TEST), "was it fitted?"),
    "fitted on a tensor": (
        lambda: build("scorer", "knn").fit(F, None),
        "train should be an oodbench.Outputs",
    ),
}
SIX = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
NO_NUMBERS: dict[str, tuple[Any, str]] = {
    "nan": ([1.0, np.nan, 2, 3, 4, 5], "1 of 6 are not finite"),
    "inf": (torch.tensor([1.0, np.inf, 2, 3, 4, 5]), "1 of 6 are not finite"),
    "column": (torch.ones(6, 1), "should have the shape (N,), got (6, 1)"),
    "scalar": (3.0, "should have the shape (N,), got ()"),
    "empty": ([], "there are no samples"),
    "none": (None, "should be numbers"),
    "text": ("scores.npy", "should be numbers"),
    "texts": (["a"] * 6, "should be numbers"),
    "ragged": ([[1, 2], [3]], "should be an array of numbers"),
    "complex": (torch.ones(6) + 0j, "should be numbers (real ones), got complex64"),
    "objects": ([object()] * 6, "should be numbers"),
    "dates": (np.array(["2020-01-01"] * 6, "M8[D]"), "should be numbers"),
    "sparse": (torch.ones(6).to_sparse(), "should be an array of numbers"),
    "dict": ({1: 2}, "should be numbers"),
}
LOGITS: dict[str, tuple[Any, str]] = {
    "flat": (Z[:, 0], "logits: should have the shape (N, C), C >= 2, got (20,)"),
    "one class": (Z[:, :1], "logits: should have the shape (N, C), C >= 2, got (20, 1)"),
    "none at all": (Z[:0], "logits: should have the shape (N, C), C >= 2, got (0, 3)"),
    "nan": (Z * np.nan, "logits: some are not finite"),
    "inf": (Z / 0, "logits: some are not finite"),
    "complex": (Z + 0j, "logits: should be numbers"),
    "bool": (Z > 0, "logits: should be numbers, got bool"),
    "text": ("z", "logits: should be numbers"),
    "none": (None, "logits: should be numbers"),
    "probabilities": (torch.softmax(Z, 1), "logits: they are probabilities; give log p or logits"),
    "percentages": (100 * torch.softmax(Z, 1).numpy(), "logits: they are probabilities"),
    "half probabilities": (torch.softmax(Z, 1).bfloat16(), "logits: they are probabilities"),
}
LABELS: dict[str, tuple[Any, str]] = {
    "float": (Y.float(), "labels should be integers, the numbers of the classes, got torch.float32"),
    "numpy float": (Y.numpy() / 1, "labels should be integers"),
    "bool": (Y > 0, "labels should be integers"),
    "complex": (Y + 0j, "labels should be integers"),
    "column": (Y[:, None], "labels: should have the shape (20,) of the logits, got (20, 1)"),
    "one-hot": (torch.nn.functional.one_hot(Y, 3), "labels: should have the shape (20,)"),
    "few": (Y[1:], "labels: should have the shape (20,) of the logits, got (19,)"),
    "from 1": (Y + 1, "labels: should lie in 0..2, got"),
    "unknown": (Y * 0 - 1, "labels: should lie in 0..2, got -1..-1"),
    "text": (["a"] * 20, "labels: should be numbers"),
    "none": (None, "labels: should be numbers"),
}
FRAME = pd.DataFrame({"split": [0, 1], "seed": [0, 0], "auroc": [0.5, 0.6]})
STATS: dict[str, tuple[Call, str]] = {
    "no column": (
        lambda: stats.paired_trials(FRAME, FRAME, "fpr"),
        "a: the column 'fpr' is missing; there: split",
    ),
    "no seed": (
        lambda: stats.paired_trials(FRAME, FRAME.drop(columns="seed"), "auroc"),
        "b: the column 'seed'",
    ),
    "no frame": (lambda: stats.paired_trials(SIX, FRAME, "auroc"), "a: should be a DataFrame, got list"),
    "no cell": (lambda: stats.blocks(FRAME, "auroc", of="method", within=[]), "trials: the column 'pair'"),
    "texts": (
        lambda: stats.rank_blocks(pd.DataFrame({"a": ["x"], "b": ["y"]})),
        "table: should hold numbers alone",
    ),
    "a list": (lambda: stats.win_tie_loss([SIX]), "table: should be a DataFrame, got list"),
    "no reference": (lambda: stats.against(FRAME[["auroc"]], "msp"), "reference: 'msp' should be one row"),
    "alpha": (
        lambda: stats.rank_blocks(FRAME[["auroc"]], alpha=0),
        "alpha: should be a number between 0 and 1",
    ),
    "confidence": (
        lambda: stats.t_interval(SIX, 95),
        "confidence: should be a number between 0 and 1, got 95",
    ),
    "no values": (lambda: stats.t_interval(None), "values: should be numbers"),
    "a table": (lambda: stats.t_interval([SIX]), "values: should have the shape (n,), got (1, 6)"),
    "p of 2": (lambda: stats.holm([0.1, 2.0]), "p values: should lie in [0, 1]"),
    "lengths": (lambda: stats.delong(SIX, SIX, SIX[1:], SIX), "the numbers of samples differ"),
    "no pairs": (lambda: stats.bootstrap([]), "there are no scores to bootstrap"),
    "no pair": (lambda: stats.bootstrap([SIX]), "pairs: should be a list of (ID scores, OOD scores)"),
    "no draws": (lambda: stats.bootstrap([(SIX, SIX)], n=0), "n: should be a whole number from 1"),
    "metric": (
        lambda: stats.bootstrap([(SIX, SIX)], metrics=["ece"]),
        "cannot bootstrap 'ece'; allowed: auroc",
    ),
    "replicates": (lambda: stats.percentile_interval(0.5, []), "replicates: there are no samples"),
    "losses": (lambda: stats.sign_test(3, -1), "wins and losses should be counts, got 3 and -1"),
}


def _of_metrics() -> dict[str, tuple[Call, str]]:
    """What is no score, in each place where one is due; bad logits and labels; what else may be wrong."""
    found: dict[str, tuple[Call, str]] = {}
    for name, (bad, said) in NO_NUMBERS.items():
        found[f"ID scores {name}"] = lambda bad=bad: metrics.detection_metrics(bad, SIX), f"ID scores: {said}"
        found[f"OOD scores {name}"] = (
            lambda bad=bad: metrics.detection_metrics(SIX, bad),
            f"OOD scores: {said}",
        )
        found[f"counts {name}"] = lambda bad=bad: metrics.counts(bad, SIX), f"ID scores: {said}"
        found[f"oscr {name}"] = lambda bad=bad: metrics.oscr(SIX, bad, [1] * 6), f"OOD scores: {said}"
        found[f"losses {name}"] = lambda bad=bad: metrics.risk_coverage(SIX, bad), f"losses: {said}"
        row = {"id_scores": SIX, "val_scores": bad}
        if bad is not None:
            found[f"val {name}"] = lambda row=row: metrics.row_metrics(**row), f"ID validation scores: {said}"
    for name, (bad, said) in LOGITS.items():
        found[f"id_metrics logits {name}"] = lambda bad=bad: metrics.id_metrics(bad, Y), said
        found[f"analysis {name}"] = lambda bad=bad: metrics.analysis(bad), said
    for name, (bad, said) in LABELS.items():
        found[f"id_metrics labels {name}"] = lambda bad=bad: metrics.id_metrics(Z, bad), said
    for bad in (0, -1, 1.5, None, True, 10**30, "15"):
        said = "bins: should be a whole number from 1 to"
        found[f"bins {bad!r}"] = lambda bad=bad: metrics.id_metrics(Z, Y, bins=bad), said
    for bad in ([0.5] * 6, [2] * 6, [np.nan] * 6):
        said = "correct ID predictions: should be true or false"
        found[f"correct {bad[0]}"] = lambda bad=bad: metrics.oscr(SIX, SIX, bad), said
    found["correct few"] = (
        lambda: metrics.oscr(SIX, SIX, [1] * 5),
        "should have the shape (6,) of the ID scores",
    )
    found["correct text"] = lambda: metrics.oscr(SIX, SIX, ["no"] * 6), "should be numbers"
    found["losses few"] = lambda: metrics.risk_coverage(SIX, SIX[1:]), "losses: should have the shape (6,)"
    for name in ("id_quality", "id_analysis", "ood_analysis"):
        others = {} if name == "id_quality" else {"ood_scores": SIX}
        given = {"id_scores": SIX, **others, name: SIX}
        found[f"row {name}"] = (
            lambda given=given: metrics.row_metrics(**given),
            f"{name}: should be {{metric: value}}",
        )
    return found


BAD = {
    **{f"Outputs {k}": v for k, v in OUTPUTS.items()},
    **{f"score {k}": v for k, v in SCORES.items()},
    **{f"metrics {k}": v for k, v in _of_metrics().items()},
    **{f"stats {k}": v for k, v in STATS.items()},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_is_one_line_of_ours(name: str) -> None:
    work, said = BAD[name]
    with pytest.raises(UserError) as caught:
        work()
    line = str(caught.value)
    assert said in line
    assert "\n" not in line
    assert len(line) < 1000


@pytest.mark.parametrize("name", registry.scorers)
def test_a_scorer_fitted_on_nothing_says_what_it_needs(name: str) -> None:
    scorer = by_default(name)
    needs = scorer.needs & {"train", "val"}
    if not needs:
        scorer.fit(None, None)
        return
    with pytest.raises(UserError, match=r"^scorer .* needs (train|val): give outputs of the ID"):
        scorer.fit(None, None)


def test_an_error_of_ours_in_code_is_a_value_error_too() -> None:
    for work in (BAD["Outputs numpy"][0], BAD["metrics ID scores nan"][0]):
        with pytest.raises(ValueError):
            work()
    with pytest.raises(AttributeError):
        build("scorer", "knn").score(TEST)


KINDS = [
    torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.uint64,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_any_integer_type_are_labels(kind: torch.dtype) -> None:
    labels = torch.tensor([1, 1, 1]).to(kind)
    logits = 5 * torch.eye(3)  # as many samples as classes: as a mask, these labels would fit too
    expected = metrics.id_metrics(logits, torch.tensor([1, 1, 1]))
    assert metrics.id_metrics(logits, labels) == expected
    assert metrics.id_metrics(logits, labels.numpy()) == expected
    assert metrics.id_metrics(logits.numpy(), labels.tolist()) == expected
    assert expected["nll"] == pytest.approx((2 * 5 + 3 * np.log(1 + 2 * np.exp(-5))) / 3)
    assert Outputs(logits, labels=labels).labels.dtype == torch.int64
    train = made(60)
    again = Outputs(train.logits, train.features, train.labels.to(kind), train.head)
    for scorer in ("mds", "she"):
        mine, theirs = (score_all([scorer], t, None, {"t": TEST})[scorer]["t"] for t in (train, again))
        assert torch.equal(mine, theirs)


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "bfloat16": lambda t: t.bfloat16(),
    "float16": lambda t: t.half(),
    "float64": lambda t: t.double(),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "int64": lambda t: t.long(),
    "uint16": lambda t: t.to(torch.uint16),
    "numpy": lambda t: t.numpy(),
    "big-endian": lambda t: t.numpy().astype(">f8"),
    "list": lambda t: t.tolist(),
    "long double": lambda t: t.numpy().astype("g"),
    "series": lambda t: pd.Series(t.numpy()),
    "with a gradient": lambda t: t.clone().requires_grad_(),
    "strided": lambda t: t.repeat_interleave(2)[::2],
}


@pytest.mark.parametrize("form", FORMS)
def test_scores_of_any_real_type_give_the_same_metrics(form: str) -> None:
    inside, outside = torch.tensor([1.0, 2, 2, 4]), torch.tensor([2.0, 3, 4, 8, 16])
    of = FORMS[form]
    assert metrics.detection_metrics(of(inside), of(outside)) == metrics.detection_metrics(inside, outside)
    assert metrics.oscr(of(inside), of(outside), of(torch.tensor([1.0, 0, 1, 1]))) == metrics.oscr(
        inside, outside, [True, False, True, True]
    )


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_outputs_of_any_precision_are_scored_by_every_scorer(kind: torch.dtype) -> None:
    """As the float32 that they become."""
    names = [n for n in registry.scorers if by_default(n).view() is None and not by_default(n).extras]
    sets = [Outputs(o.logits.to(kind), o.features.to(kind), o.labels, o.head) for o in (TRAIN, VAL, TEST)]
    plain = [Outputs(o.logits, o.features, o.labels, o.head) for o in sets]
    small = [{"knn": {"k": 5}}, {"nnguide": {"k": 5}}]
    scorers = [n for n in names if n not in ("knn", "nnguide")]
    given: list[Any] = [*small, *(by_default(n) for n in scorers)]
    found, expected = (score_all(given, s[0], s[1], {"t": s[2]}) for s in (sets, plain))
    assert len(found) > 30
    for name, of in found.items():
        assert torch.equal(of["t"], expected[name]["t"]), name
