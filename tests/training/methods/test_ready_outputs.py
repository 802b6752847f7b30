"""Outputs that were computed elsewhere: read as they are, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from oodbench.core import registry
from oodbench.core.errors import MissingData, NotFinite, UserError

WEIGHT = np.arange(12.0).reshape(3, 4)


def arrays(**changes: Any) -> dict[str, Any]:
    """A set of five samples, three classes and four features, without what is changed to None."""
    features = np.random.default_rng(0).normal(size=(5, 4))
    made = {
        "logits": features @ WEIGHT.T + 1, "features": features, "labels": np.array([0, 1, 2, 1, 0]),
        "head.weight": WEIGHT, "head.bias": np.ones(3), "extras.rotation": np.zeros((5, 4)),
    }  # fmt: skip
    return {k: v for k, v in (made | changes).items() if v is not None}


def method(folder: Path) -> Any:
    return registry.build("method", {"outputs": {"folder": str(folder)}})


def test_what_the_files_hold_is_what_comes_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", **arrays())
    save_file({k: torch.from_numpy(v) for k, v in arrays().items()}, tmp_path / "letters.safetensors")
    first, second = method(tmp_path).outputs("test"), method(tmp_path).outputs("letters")
    for outputs in (first, second):
        assert outputs.logits.dtype == outputs.features.dtype == torch.float32
        assert outputs.labels.tolist() == [0, 1, 2, 1, 0]
        torch.testing.assert_close(outputs.head(outputs.features), outputs.logits)
        assert set(outputs.extras) == {"rotation"}
    assert torch.equal(first.logits, second.logits)


def test_a_head_may_stand_alone_and_a_bias_may_be_missing(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", **arrays(**{"head.weight": None, "head.bias": None}))
    assert method(tmp_path).outputs("test").head is None
    before = method(tmp_path).digest("test")
    np.savez(tmp_path / "head.npz", weight=WEIGHT)
    head = method(tmp_path).outputs("test").head
    assert torch.equal(head.weight, torch.from_numpy(WEIGHT).float())
    assert head.bias.tolist() == [0, 0, 0]
    assert method(tmp_path).digest("test") != before, "the head counts"


def test_a_set_with_logits_alone_has_no_head(tmp_path: Path) -> None:
    np.savez(tmp_path / "letters.npz", logits=np.zeros((2, 3)), **{"head.weight": WEIGHT})
    outputs = method(tmp_path).outputs("letters")
    assert outputs.head is None
    assert outputs.labels.tolist() == [-1, -1]
    with pytest.raises(ValueError, match="no features"):
        _ = outputs.features


def test_the_identity_is_what_the_files_hold_not_where_they_lie(tmp_path: Path) -> None:
    digests = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "test.npz", **arrays())
        digests.append(method(tmp_path / folder).digest("test"))
    assert digests[0] == digests[1]
    np.savez(tmp_path / "two" / "test.npz", **arrays(labels=np.array([0, 1, 2, 1, 1])))
    assert method(tmp_path / "two").digest("test") != digests[0]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("test", {"logits": None}, "'logits' is missing; there: extras.rotation, features"),
        ("test", {"logits": np.zeros(5)}, r"logits should have the shape \(N, C\), got \(5,\)"),
        ("test", {"logits": np.zeros((0, 3))}, r"logits should have the shape \(N, C\), got \(0, 3\)"),
        ("test", {"features": np.zeros((4, 4))}, r"features should have the shape \(5, D\).* got \(4, 4\)"),
        ("test", {"labels": np.zeros(4, int)}, r"labels should have the shape \(5,\).* got \(4,\)"),
        ("test", {"labels": None}, "'labels' is missing; ID sets need it"),
        ("val", {"labels": np.array([0, 1, 3, 0, 0])}, r"labels should lie in 0..2, got 0..3"),
        ("train", {"labels": np.array([0, -1, 2, 0, 0])}, r"labels should lie in 0..2, got -1..2"),
        ("test", {"head.weight": np.zeros((3, 5))}, r"head.weight should have the shape \(3, 4\), got"),
        ("test", {"features": np.full((5, 4), np.nan)}, "features are not all finite"),
        ("test", {"logits": np.full((5, 3), np.inf)}, "logits are not all finite"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(
    name: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / f"{name}.npz", **arrays(**changes))
    with pytest.raises(UserError, match=message) as found:
        method(tmp_path).outputs(name)
    assert "\n" not in str(found.value)
    assert f"{name}.npz" in str(found.value)


def test_labels_of_other_sets_may_be_anything(tmp_path: Path) -> None:
    np.savez(tmp_path / "letters.npz", **arrays(labels=np.array([-1, 99, 0, 0, 0])))
    assert method(tmp_path).outputs("letters").labels.tolist() == [-1, 99, 0, 0, 0]


def test_a_set_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"no test.npz or test.safetensors; there: nothing"):
        method(tmp_path / "nowhere").outputs("test")
    np.savez(tmp_path / "val.npz", **arrays())
    with pytest.raises(MissingData, match="there: val"):
        method(tmp_path).digest("test")


def test_a_file_that_is_no_arrays_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "test.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"test\.npz: cannot be read"):
        method(tmp_path).outputs("test")


def test_only_values_that_are_not_finite_are_told_apart(tmp_path: Path) -> None:
    """They cost a set's own rows; whatever else is wrong is said before them."""
    nan = np.full((5, 3), np.nan)
    np.savez(tmp_path / "letters.npz", **arrays(logits=nan, features=np.full((5, 4), np.inf)))
    said = r"letters.npz: logits are not all finite \(5 of 5 rows\); features are not all finite \(5 of 5"
    with pytest.raises(NotFinite, match=said):
        method(tmp_path).outputs("letters")
    for changes in (
        {"features": np.ones((5, 4)) + 1j}, {"labels": np.full(5, 0.5)}, {"extras.x": np.ones(4)},
        {"head.bias": np.ones(1)}, {"head.bias": np.full(3, np.nan)}, {"features": np.full((5, 4), 1e200)},
    ):  # fmt: skip
        np.savez(tmp_path / "letters.npz", **arrays(logits=nan, **changes))
        with pytest.raises(UserError) as caught:
            method(tmp_path).outputs("letters")
        assert not isinstance(caught.value, NotFinite), changes


def test_one_set_has_one_file_and_one_head(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", **arrays())
    np.savez(tmp_path / "head.npz", weight=WEIGHT, bias=np.ones(3))
    assert method(tmp_path).outputs("test").head.bias.tolist() == [1, 1, 1]
    np.savez(tmp_path / "head.npz", weight=WEIGHT)
    with pytest.raises(UserError, match=r"test.npz: the head is another one than in head.npz; keep one"):
        method(tmp_path).outputs("test")
    save_file({"logits": torch.zeros(5, 3)}, tmp_path / "test.safetensors")
    for ask in (method(tmp_path).outputs, method(tmp_path).digest):
        with pytest.raises(UserError, match=r"test.npz and test.safetensors are both there; keep one"):
            ask("test")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64])
def test_precisions_that_numpy_lacks_are_read(kind: torch.dtype, tmp_path: Path) -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [4.0, 0.0, 8.0]])
    save_file({"logits": logits.to(kind)}, tmp_path / "letters.safetensors")
    assert torch.equal(method(tmp_path).outputs("letters").logits, logits)
