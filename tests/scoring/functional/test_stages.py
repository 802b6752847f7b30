"""A network's stages are read and edited on the way, and no hook stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from oodbench.core.network import Network, Task
from oodbench.scoring import functional

TASK = Task("image", (1, 4, 4), 3, (0.0,), (1.0,))


@pytest.fixture
def staged() -> Network:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5))
    return Network(TASK, body, nn.Linear(5, 3), ["body.1", "body.3"]).eval()


def test_stages_hand_on_what_the_layers_give(staged: Network) -> None:
    x = torch.rand(6, 1, 4, 4)
    logits, found = functional.stage_outputs(staged, x, staged.stages)
    assert list(found) == ["body.1", "body.3"]
    torch.testing.assert_close(found["body.1"], staged.body[:2](x))  # type: ignore[index]
    torch.testing.assert_close(found["body.3"], staged.features(x))
    torch.testing.assert_close(logits, staged(x))


def test_an_edit_changes_one_pass_and_not_the_next(staged: Network) -> None:
    x = torch.rand(6, 1, 4, 4)
    before = staged(x)

    def twice(out: Tensor) -> Tensor:
        return 2 * out

    edited = functional.with_stage(staged, x, "body.3", twice)
    torch.testing.assert_close(edited, staged.head(2 * staged.features(x)))
    torch.testing.assert_close(staged(x), before)

    def broken(out: Tensor) -> Tensor:
        raise RuntimeError("broken edit")

    with pytest.raises(RuntimeError, match="broken edit"):
        functional.with_stage(staged, x, "body.3", broken)
    torch.testing.assert_close(staged(x), before)


def test_objections(staged: Network) -> None:
    assert functional.stage_objection(staged, []) == ""
    assert "'body.9' is not one of the network's: body.1, body.3" in functional.stage_objection(
        staged, ["body.9"]
    )
    assert functional.stage_objection(staged, ["body.1"], dims=4) == ""
    assert "body.3' hands on (5,) per sample" in functional.stage_objection(staged, ["body.3"], dims=4)
    unused = Network(TASK, nn.Sequential(nn.Flatten(), nn.Linear(16, 5)), nn.Linear(5, 3), ["spare"])
    unused.spare = nn.Linear(1, 1)
    assert "takes no part in the network's forward pass" in functional.stage_objection(unused, [])
    bare = Network(TASK, nn.Flatten(), nn.Linear(16, 3))
    assert "names none" in functional.stage_objection(bare, [])
    staged.train()
    functional.stage_objection(staged, [])
    assert staged.training
