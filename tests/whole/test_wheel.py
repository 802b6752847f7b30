"""What is installed elsewhere is whole: a wheel, built from the source archive and unpacked in a folder of
its own, runs the package's suites from an empty working folder, with no checkout in sight."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "oodbench", "suites")


def _build(kind: str, source: Path, into: Path) -> Path:
    """A source archive (`sdist`) or a `wheel` by the project's own build backend, offline."""
    code = f"import setuptools.build_meta as b; b.build_{kind}({str(into)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is absent from the `packages`" not in done.stdout + done.stderr
    return next(into.glob({"sdist": "*.tar.gz", "wheel": "*.whl"}[kind]))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked: what installing one of pure Python does, but for the script."""
    pytest.importorskip("setuptools", minversion="70.1", reason="builds its wheel without further packages")
    root = tmp_path_factory.mktemp("built")
    (root / "source").mkdir()
    for name in SOURCES:  # a copy, since a build leaves files in its folder
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / "source" / name)
    with tarfile.open(_build("sdist", root / "source", root)) as archive:
        archive.extractall(root / "archive")
    (unpacked,) = (root / "archive").iterdir()
    with zipfile.ZipFile(_build("wheel", unpacked, root)) as wheel:
        wheel.extractall(root / "site")
    return root / "site"


def _call(installed: Path, folder: Path, *args: str, status: int = 0) -> str:
    """What the command prints, run in a folder where nothing but the installed package is to be found."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OODBENCH_")}
    environment |= {"PYTHONPATH": str(installed), "OODBENCH_CACHE": str(folder / "cache")}
    environment["OMP_NUM_THREADS"] = "1"  # as the tests beside it: threads that wait for a core cost more
    done = subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def _below(folder: Path) -> set[str]:
    files = (f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    return {f.relative_to(folder).as_posix() for f in files}


def test_every_file_of_the_package_is_in_it(installed: Path) -> None:
    suites = _below(ROOT / "suites")
    assert "openood/cifar10.yaml" in suites
    assert _below(installed / "oodbench") == _below(ROOT / "oodbench") | {f"suite/files/{s}" for s in suites}


def test_it_runs_digits_by_name_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = _call(installed, tmp_path, "-c", "import oodbench.suite.packaged as p; print(p.folder())")
    assert Path(where.strip()) == installed / "oodbench" / "suite" / "files"
    command = ("-m", "oodbench", "run", "digits", "--seeds", "0", "--splits", "0", "--device", "cpu")
    assert "label-smoothing" in _call(installed, tmp_path, *command)
    assert {"leaderboard.csv", "report.html"} <= _below(tmp_path / "runs" / "digits")
    assert "missing" not in _call(installed, tmp_path, *command, "--dry-run")


def _write_openood(root: Path) -> None:
    """A folder laid out as OpenOOD's: one image, and lists of it that are as long as the suite needs."""
    lists = {"train_cifar10": 10, "val_cifar10": 10, "test_cifar10": 10, "val_tin": 1}
    lists |= {f"test_{name}": 1 for name in ("cifar100", "tin", "mnist", "svhn", "texture", "places365")}
    for i, (name, classes) in enumerate(lists.items()):
        file = root / "benchmark_imglist" / "cifar10" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}/{c}.png {c if classes == 10 else -1}\n" for c in range(classes)]
        file.write_text("".join(lines))
        for c in range(classes):
            picture = root / "images_classic" / name / f"{c}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (c, 20 * i, 7)).save(picture)


def test_it_plans_openood_by_name_once_its_data_are_there(installed: Path, tmp_path: Path) -> None:
    command = ("-m", "oodbench", "run", "openood/cifar10", "--dry-run")
    lines = _call(installed, tmp_path, *command, status=1).splitlines()
    (line,) = lines  # of all that comes in one download, with what gets it
    assert "train_cifar10, val_cifar10, test_cifar10, test_cifar100, test_tin" in line
    assert "is not here" in line
    assert "to get it: " in line
    _write_openood(tmp_path / "data")
    assert "openood-cifar10: 15 runs, 0 of" in _call(installed, tmp_path, *command)
