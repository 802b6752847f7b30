"""State dicts that others saved: whatever wraps them, in whatever file."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from oodbench.core.errors import UserError
from oodbench.training.foreign_state import state_dicts

BODY = {"body.1.weight": (4, 6), "body.1.bias": (4,), "head.weight": (3, 4), "head.bias": (3,)}
WANTED = {k: torch.zeros(shape) for k, shape in BODY.items()}


def drawn() -> dict[str, Tensor]:
    return {k: torch.randn(v.shape) for k, v in WANTED.items()}


@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda s: s, ""),
        (lambda s: {"net": s, "acc": 93.1, "epoch": 3}, "net"),
        (lambda s: {"weights": s, "args": {"lr": 0.1, "names": ["a"]}}, "weights"),
        (lambda s: {"a": {"b": {"c": s}}}, "a.b.c"),
        (lambda s: {**s, "epoch": 3, "name": "x", "none": None}, ""),
        (lambda s: {"state_dict": s, "best": np.float64(0.9), "hist": np.arange(3)}, "state_dict"),
        (lambda s: {"state_dict": s, "optimizer": {"state": {0: {"step": torch.zeros(())}}}}, "state_dict"),
    ],
)
def test_state_dicts_are_found_whatever_wraps_them(
    tmp_path: Path, wrap: Callable[[Any], Any], place: str
) -> None:
    state = drawn()
    torch.save(wrap(state), tmp_path / "w.pt")
    found = state_dicts(tmp_path / "w.pt")
    assert found[place].keys() == state.keys()
    assert all(torch.equal(v, found[place][k]) for k, v in state.items())


def test_the_format_is_told_by_the_content_not_by_the_name(tmp_path: Path) -> None:
    save_file(drawn(), tmp_path / "w.pt")
    assert state_dicts(tmp_path / "w.pt")[""].keys() == WANTED.keys()
    torch.save(drawn(), tmp_path / "w.safetensors", _use_new_zipfile_serialization=False)
    assert state_dicts(tmp_path / "w.safetensors")[""].keys() == WANTED.keys()


def _made(kind: str, file: Path) -> None:
    texts = {
        "empty": b"", "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n",
        "page": b"  <!DOCTYPE html><html>quota exceeded</html>", "noise": bytes(range(1, 200)),
        "pickle cut short": b"\x80\x02}q\x00(X\x01\x00",
    }  # fmt: skip
    if kind in texts:
        file.write_bytes(texts[kind])
    elif kind == "cut":
        torch.save(drawn(), file)
        file.write_bytes(file.read_bytes()[:-200])
    elif kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", "x")
    elif kind == "script":
        torch.jit.script(nn.Linear(2, 2)).save(str(file))
    elif kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        import os

        os.mkfifo(file)
    elif kind != "absent":
        values = {
            "namespace": {"model": drawn(), "args": argparse.Namespace(lr=0.1)}, "module": nn.Linear(2, 2),
            "list": [torch.ones(2)], "number": 3, "tensor": torch.ones(2), "numbers": {"epoch": 3},
        }  # fmt: skip
        torch.save(values[kind], file)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("absent", "no such file"),
        ("folder", "cannot be read (Is a directory)"),
        ("pipe", "cannot be read (not a regular file)"),
        ("empty", "is empty"),
        ("lfs", "is a Git LFS pointer, not the file itself; `git lfs pull` fetches that"),
        ("page", "is a web page, not a checkpoint; download the file itself"),
        ("noise", "is no checkpoint of torch or safetensors, or damaged"),
        ("pickle cut short", "is no checkpoint of torch or safetensors, or damaged"),
        ("cut", "is no checkpoint of torch or safetensors, or damaged"),
        ("zip", "is no checkpoint of torch or safetensors, or damaged"),
        ("script", "is a TorchScript archive; save the `state_dict()` of the module instead"),
        ("namespace", "holds Python objects besides tensors (argparse.Namespace), which are not loaded"),
        ("module", "holds Python objects besides tensors (torch.nn.modules.linear.Linear), which are not"),
        ("list", "holds no tensors by name, but a value of type list"),
        ("number", "holds no tensors by name, but a value of type int"),
        ("tensor", "holds no tensors by name, but a value of type Tensor"),
        ("numbers", "holds no tensors by name, but epoch (int)"),
    ],
)
def test_what_is_no_state_dict_is_told_in_our_words(tmp_path: Path, kind: str, words: str) -> None:
    file = tmp_path / "w.pt"
    _made(kind, file)
    with pytest.raises(UserError) as caught:
        state_dicts(file)
    said = str(caught.value)
    assert said.startswith(f"checkpoint {file}: {words}")
    assert said.isprintable()
    assert "weights_only" not in said
