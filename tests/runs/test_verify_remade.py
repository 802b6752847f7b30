"""What is forged together with its checksum is found by making it again, and by that alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from oodbench.runs import verify_remade
from oodbench.runs.findings import CONTRADICTED, HOLDS, UNCHECKED
from oodbench.runs.reopen import reopened
from oodbench.runs.runner import run
from oodbench.suite.load import load_suite
from tests.runs.checked import findings, forge, only_contradicted, seal, stored


def run_again(folder: Path) -> None:
    """Rows, tables and page follow from what lies in the store."""
    run(load_suite(folder / "suite.yaml"), results=folder.parent, device="cpu", plots=False)


def shift(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: t + 1 if t.is_floating_point() else t for k, t in tensors.items()}


def why(folder: Path, again: Sequence[str], what: str) -> str:
    return only_contradicted(folder, what, remake=again)


def test_forged_scores_pass_until_they_are_made_again(bare: Path) -> None:
    for artefact in stored(bare, "scores", "blobs"):
        forge(artefact, shift)
    run_again(bare)
    found = findings(bare)
    assert not [f for f in found.values() if f.state == CONTRADICTED]
    assert found["scores"].state == UNCHECKED
    said = why(bare, ["scores"], "scores")
    assert "blobs" in said
    assert "scores differs in" in said


def test_one_forged_score_of_many_is_found(bare: Path) -> None:
    def one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors["scores"][3] += 0.01
        return tensors

    forge(stored(bare, "scores", "test")[0], one)
    run_again(bare)
    assert "differs in 1 of " in why(bare, ["scores"], "scores")


def test_outputs_forged_with_scores_made_from_them_pass_until_they_are_extracted_again(bare: Path) -> None:
    for artefact in stored(bare, "outputs", "blobs"):
        forge(artefact, lambda t: {**t, "logits": t["logits"].flip(1) * 3})
    for artefact in stored(bare, "scores", "blobs"):
        for file in artefact.iterdir():
            file.unlink()
        artefact.rmdir()
    run_again(bare)
    assert findings(bare, remake=["scores"])["scores"].state == HOLDS
    assert "logits differs in" in why(bare, ["outputs"], "outputs")


def test_forged_weights_are_found_by_the_outputs(bare: Path) -> None:
    (artefact,) = stored(bare, "weights")
    forge(artefact, lambda t: {k: v * 1.5 if v.is_floating_point() else v for k, v in t.items()})
    found = findings(bare, remake=["outputs"])
    assert found["outputs"].state == CONTRADICTED
    assert found["scores"].state == HOLDS


def test_weights_that_fit_no_network_are_told(bare: Path) -> None:
    (artefact,) = stored(bare, "weights")
    forge(artefact, lambda t: {k: v[..., :1] for k, v in t.items()})
    assert findings(bare, remake=["outputs"])["outputs"].state in (CONTRADICTED, UNCHECKED)


def test_a_head_that_is_not_of_the_weights_is_found(bare: Path) -> None:
    (artefact,) = stored(bare, "weights")
    from safetensors.torch import load_file, save_file

    head = load_file(artefact / "head.safetensors")
    save_file({k: t * 2 for k, t in head.items()}, artefact / "head.safetensors")
    seal(artefact)
    assert "the stored head is not that" in findings(bare, remake=["outputs"])["outputs"].why


def test_a_forged_choice_is_found(rich: Path) -> None:
    artefact = stored(rich, "choices")[0]
    choice = json.loads((artefact / "choice.json").read_text())
    (artefact / "choice.json").write_text(json.dumps(choice | {"place": int(choice["place"] == 0)}))
    seal(artefact)
    found = findings(rich, remake=["scores"])["scores"]
    assert found.state == CONTRADICTED
    assert "choice" in found.why


def test_what_cannot_be_made_here_is_said(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object) -> None:
        raise RuntimeError("no room\nleft")

    monkeypatch.setattr(verify_remade.remake, "scores", fails)
    (found,) = verify_remade.check_scores(reopened(bare), "cpu")
    assert found.state == UNCHECKED
    assert "RuntimeError: no room left" in found.why


def test_another_order_of_sums_is_no_forgery() -> None:
    a = torch.randn(100, 10, generator=torch.Generator().manual_seed(0))
    near = a * (1 + 1e-6)
    assert verify_remade._differ({"x": a}, {"x": near}, 0.0) == ""
    assert "differs in 100 of 100" in verify_remade._differ({"x": a}, {"x": a + 0.01}, 0.0)
    flipped = a.clone()
    flipped[0] += 1
    assert verify_remade._differ({"x": a}, {"x": flipped}, 0.01) == "", "one in a hundred, under an attack"
    assert verify_remade._differ({"x": a}, {"x": flipped}, 0.0) != ""
    same = torch.tensor([float("nan"), float("inf")])
    assert verify_remade._differ({"x": same}, {"x": same.clone()}, 0.0) == ""
    assert verify_remade._differ({"x": a}, {"y": a}, 0.0).startswith("holds ['x']")
    assert "made again (50, 10)" in verify_remade._differ({"x": a}, {"x": a[:50]}, 0.0)
