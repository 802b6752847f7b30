"""Modules that users wrote."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from oodbench.core import registry
from oodbench.core.errors import SpecError, UserError
from tests.training.networks.common import make, task_of


def test_a_users_module_by_import_or_file(tmp_path: Path) -> None:
    layers = "nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, task.classes)"
    code = f"import torch.nn as nn\ndef tiny(task, width=3):\n    return nn.Sequential({layers})\n"
    (tmp_path / "nets.py").write_text(code)
    network = registry.resolve(
        "network", {"module": {"target": "nets.py:tiny", "options": {"width": 7}}}, folder=tmp_path
    )
    built = registry.build("network", network, task_of((1, 8, 8)))
    assert built.features(torch.rand(2, 1, 8, 8)).shape == (2, 7)
    assert "nets.py:tiny" in network.label
    assert network.plain["module"]["target"] == f"{tmp_path / 'nets.py'}:tiny"
    by_import = make(
        "module", (3, 32, 32), target="torchvision.models:mobilenet_v3_small", options={"num_classes": 4}
    )
    assert by_import.features(torch.rand(2, 3, 32, 32)).shape == (2, 1024)

    # identity: what the file holds, not where it lies or what else is beside it
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "renamed.py").write_text(code)
    moved = registry.resolve(
        "network", {"module": {"target": "renamed.py:tiny", "options": {"width": 7}}}, folder=other
    )
    assert moved.identity == network.identity
    (tmp_path / "nets.py").write_text(code + "# changed\n")
    changed = registry.resolve(
        "network", {"module": {"target": "nets.py:tiny", "options": {"width": 7}}}, folder=tmp_path
    )
    assert changed.identity != network.identity
    assert str(tmp_path) not in str(network.identity)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("resnet", "should be 'pkg.mod:name' or 'file.py:name', got 'resnet'"),
        ("no.such.package:net", "cannot import 'no.such.package'"),
        ("torchvision.models:resnet19", "has no function or class 'resnet19'"),
        ("missing.py:net", "no such file"),
        ("broken.py:net", r"cannot run .*broken.py \(ZeroDivisionError"),
    ],
)
def test_a_module_that_cannot_be_found_is_one_clear_line(target: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(SpecError, match=message) as found:
        registry.resolve("network", {"module": {"target": target}}, folder=tmp_path)
    assert "\n" not in str(found.value)


def test_a_users_module_of_the_wrong_kind_or_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = types.ModuleType("mine")
    mine.number = lambda: 3  # type: ignore[attr-defined]
    mine.wide = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 9))  # type: ignore[attr-defined]
    mine.broken = lambda: 1 / 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", mine)
    for name, message in (
        ("number", "got int"),
        ("wide", "gives 9 logits for 4 classes"),
        ("broken", "ZeroDivisionError"),
    ):
        with pytest.raises(UserError, match=message):
            make("module", (1, 8, 8), target=f"mine:{name}")
