"""Devices as the command line names them, and what is recorded of the machine."""

from __future__ import annotations

import platform

import pytest
import torch

from oodbench.core.errors import UserError
from oodbench.runs.machine import pick_device, provenance


@pytest.mark.parametrize("name", ["gpu", "cpu:x", "cuda:x", "cuda:99", "", "cpu:0:0"])
def test_a_device_that_is_not_here_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=rf"^--device {name}: not available here; available: cpu") as caught:
        pick_device(name)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_here_is_taken() -> None:
    assert pick_device("cpu") == "cpu"
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto") == best


def test_versions_are_those_that_run() -> None:
    found = provenance("cpu")
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert found["device"] == "cpu"
    assert found["threads"] == torch.get_num_threads()
