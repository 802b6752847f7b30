"""Scoring: any chunk size, one failing scorer never ends the others, work is shared."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.score import chunk_size, score_all, score_sets
from tests.scoring.outputs import by_default, with_extras
from tests.scoring.plain import SETS, TRAIN, VAL, plain_scorers


def test_any_chunk_size_gives_the_same_scores() -> None:
    """Rows of a float32 product differ with the batch size, so to 1e-4 of the scores' range. Extras are made:
    every scorer takes part."""
    built = [{name: by_default(name) for name in registry.scorers} for _ in range(2)]
    train, val, sets = (
        with_extras(TRAIN),
        with_extras(VAL),
        {name: with_extras(o) for name, o in SETS.items()},
    )
    whole = score_sets(built[0], train, val, sets, chunk=1000)
    parts = score_sets(built[1], train, val, sets, chunk=17)
    for name, result in whole.items():
        for where, scored in result.sets.items():
            assert scored.reason == "", scored.reason
            assert scored.scores is not None
            spread = float(scored.scores.max() - scored.scores.min())
            torch.testing.assert_close(
                parts[name].sets[where].scores, scored.scores, rtol=0, atol=1e-4 * spread, msg=name
            )


def test_a_failing_scorer_has_its_reason_and_ends_nobody_else() -> None:
    class NoFit(Scorer):
        def fit(self, train: Outputs | None, val: Outputs | None) -> None:
            raise ValueError("singular\nand more")

    class Nan(Scorer):
        def score(self, outputs: Outputs) -> Tensor:
            return outputs.logits[:, 0] * torch.nan

    class Wide(Scorer):
        def score(self, outputs: Outputs) -> Tensor:
            return outputs.logits

    good = registry.build("scorer", "msp")
    found = score_sets({"no-fit": NoFit(), "nan": Nan(), "wide": Wide(), "msp": good}, TRAIN, VAL, SETS)
    said = "scorer 'no-fit' could not be fitted: ValueError: singular and more"
    assert found["no-fit"].sets["test"].reason.startswith(said)
    assert found["nan"].sets["other"].reason == "scorer 'nan' on set 'other': 70 of 70 scores are not finite"
    assert (
        found["wide"].sets["test"].reason
        == "scorer 'wide' on set 'test': scores should have the shape (150,), got (150, 4)"
    )
    assert found["msp"].sets["other"].scores is not None
    with pytest.raises(UserError, match=r"70 of 70|150 of 150"):
        score_all({"nan": Nan()}, None, None, SETS)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TypeError("a\nb"), "TypeError: a b"), (AttributeError("gone"), "AttributeError: gone"),
        (AssertionError(), "AssertionError"), (MemoryError(), "MemoryError"), (StopIteration(), "Stop"),
        (OSError(28, "full"), "OSError: [Errno 28] full"), (NotImplementedError(), "NotImplementedError"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["fit", "score", "view", "logits"])
def test_whatever_a_scorer_raises_costs_its_own_scores(error: Exception, said: str, where: str) -> None:
    def raises(self: Scorer, *given: object) -> Tensor:
        raise error

    of = {"score": lambda self, outputs: outputs.logits[:, 0], where: raises}
    scorers = {"bad": type("Bad", (Scorer,), of)(), "msp": registry.build("scorer", "msp")}
    found = score_sets(scorers, TRAIN, VAL, SETS)
    reason = found["bad"].sets["other"].reason
    assert reason.partition("'bad'")[2].partition(": ")[2].startswith(said)
    assert "\n" not in reason
    assert found["msp"].sets["other"].scores is not None


def test_scorers_of_a_chunk_share_one_similarity_product(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    product = functional.Bank.product

    def counted(self: functional.Bank, unit: Tensor) -> Tensor:
        calls.append(len(unit))
        return product(self, unit)

    monkeypatch.setattr(functional.Bank, "product", counted)
    scorers = {f"knn-{k}": registry.build("scorer", {"knn": {"k": k}}) for k in (1, 5, 50)}
    score_sets(scorers, TRAIN, None, {"test": SETS["test"]}, chunk=75)
    assert calls == [75, 75]


def test_labels_of_score_all() -> None:
    found = score_all(["msp", {"knn": {"k": 3}}], TRAIN, None, SETS)
    assert list(found) == ["msp", "knn(k=3)"]
    assert {k: tuple(v.shape) for k, v in found["msp"].items()} == {"test": (150,), "other": (70,)}
    assert found["msp"]["test"].dtype == torch.float64
    assert list(score_all({"mine": "msp"}, None, None, SETS)) == ["mine"]


def test_an_edited_networks_predictions_stand_beside_its_scores() -> None:
    found = score_sets(
        {"react": registry.build("scorer", "react"), "msp": registry.build("scorer", "msp")}, TRAIN, VAL, SETS
    )
    edited = found["react"].sets["test"].predictions
    assert edited is not None
    assert float((edited == SETS["test"].labels).float().mean()) > 0.9
    assert found["msp"].sets["test"].predictions is None


def test_chunks_keep_similarities_within_their_memory() -> None:
    assert chunk_size(0) == 2048
    assert 4 * chunk_size(1_281_167) * 1_281_167 <= 300 * 2**20
    assert chunk_size(10**9) == 32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_cpu_and_gpu_agree(place: str) -> None:
    """Fitted where the training outputs lie, scored on the GPU."""
    scorers = {name: registry.build("scorer", name) for name in plain_scorers()}
    here = score_sets(scorers, TRAIN, VAL, SETS)
    again = {name: registry.build("scorer", name) for name in scorers}
    there = score_sets(again, TRAIN.to(place), VAL.to(place), SETS, device="cuda")
    for name, s in here.items():
        for of, one in s.sets.items():
            other = there[name].sets[of]
            assert one.scores is not None
            assert other.scores is not None, other.reason
            scale = float(one.scores.abs().max())
            torch.testing.assert_close(other.scores, one.scores, rtol=1e-4, atol=1e-4 * scale, msg=name)
