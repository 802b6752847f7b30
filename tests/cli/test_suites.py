"""``oodbench list suites``."""

from __future__ import annotations

import json

import pytest

from oodbench.suite import packaged
from tests.cli.calls import call


def test_every_suite_says_what_it_asks_and_which_data_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "suites", "--json") == 0
    found = {s["name"]: s for s in json.loads(capsys.readouterr().out)["suites"]}
    assert list(found) == packaged.names()
    digits = found["digits"]
    assert [digits[k] for k in ("pairs", "networks", "methods", "seeds", "scorers")] == [3, 1, 3, 2, 16]
    assert digits["data"] == ["digits", "noise", "photo-patches"]
    assert digits["summary"].startswith("The built-in suite: real images out of scikit-learn")
    assert found["als/mnist"]["data"] == ["mnist", "noise"]
    assert "openood/tin" in found["openood/cifar10"]["data"]
    assert found["openood/cifar10"]["outliers"] == ["openood/tin597"]  # no run of it needs them
    assert all(s["data"] and s["summary"] for s in found.values())


def test_the_listing_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "suites") == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("  ssb/cub")
    assert "      asks: 1 pair x 1 network x 5 methods x 1 seed, 16 scorers" in lines[at:]
    assert "      data: cub, noise" in lines[at:]
    assert max(map(len, lines)) <= 110
