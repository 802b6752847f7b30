"""What users import: the names of the package, loaded when first used."""

from __future__ import annotations

import inspect
import subprocess
import sys

import oodbench

PUBLIC = (
    "Batch Dataset Execution Geometry Head Input Method Network Outputs Pair Recipe Samples Scorer Suite Task"
    " UserError View __version__ augmentation build dataset load_suite method network pair run score_all"
    " scorer view"
)
MODULES = {
    "errors": "core.errors", "functional": "scoring.functional", "metrics": "evaluation.metrics",
    "plots": "report.plots", "registry": "core.registry", "stats": "evaluation.statistics",
}  # fmt: skip


def test_the_public_names_are_these_and_load() -> None:
    assert dir(oodbench) == PUBLIC.split() == sorted(oodbench.__all__)
    for name in dir(oodbench):
        assert getattr(oodbench, name) is not None
    assert {name: getattr(oodbench, name).__name__ for name in MODULES} == {
        name: f"oodbench.{module}" for name, module in MODULES.items()
    }


def test_a_room_never_hides_a_public_name() -> None:
    """A sub-package becomes an attribute when it is first imported."""
    for name in ("core", "data", "evaluation", "training", "scoring", "report", "suite", "runs", "cli"):
        assert name not in oodbench.__all__
    assert inspect.isfunction(oodbench.run)


def test_what_packages_of_several_modules_offer_is_there() -> None:
    for name in ("metrics", "stats", "functional", "plots"):
        module = getattr(oodbench, name)
        assert len(module.__all__) == len(set(module.__all__)) > 5
        assert all(hasattr(module, n) and not n.startswith("_") for n in module.__all__)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import oodbench, sys; assert not {'torch', 'pandas', 'matplotlib', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
