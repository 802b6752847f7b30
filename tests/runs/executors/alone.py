"""Ray looks outward (it replaces 127.0.0.1 by the interface's address). So each script that starts it runs
in a network of its own, in which there is nothing but loopback, and among processes of its own, which all end
with it; where that is not allowed, the test is left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

_APART = ["unshare", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]


@lru_cache(1)
def _prefix() -> list[str] | None:
    if shutil.which("unshare") and shutil.which("ip"):
        for prefix in (_APART, [*_APART, "--map-root-user"]):
            tried = [*prefix, "sh", "-c", "ip link set lo up && hostname first"]
            if subprocess.run(tried, capture_output=True, timeout=20).returncode == 0:
                return prefix
    return None


def alone(module: str, home: Path, *args: object, seconds: float) -> subprocess.CompletedProcess[str]:
    """A module that ran apart from everything, with `home` as its home folder and one thread. Fails where the
    module does, or where it takes longer."""
    prefix = _prefix()
    if prefix is None:
        pytest.skip("namespaces are not allowed here")
    pytest.importorskip("ray")
    pytest.importorskip("torch")  # before the time counts
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"HOME": str(home), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"PYTHONPATH": str(ROOT)}
    start = 'ip link set lo up && hostname first && exec "$@"'
    done = subprocess.run(
        [*prefix, "sh", "-c", start, "sh", sys.executable, "-m", module, *map(str, args)],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done
