"""Files and folders that a suite names below the data roots, ``{data}/...``: so a suite of the package names
weights without knowing where they lie."""

from __future__ import annotations

from pathlib import Path

from oodbench.core.usercode import DATA
from oodbench.data.sources.roots import data_roots, missing

_FOLDERS = (".", "openood", "OpenOOD")
_INSIDE = ("", "results", "results/checkpoints", "checkpoints")
"""Where OpenOOD's scripts and people put its weights, in a data root or in its own folder there."""
OPENOOD = {
    "cifar10_resnet18_32x32_base_e100_lr0.1_default": "cifar10_res18_v1.5",
    "cifar100_resnet18_32x32_base_e100_lr0.1_default": "cifar100_res18_v1.5",
    "imagenet200_resnet18_224x224_base_e90_lr0.1_default": "imagenet200_res18_v1.5",
}
"""Folders of OpenOOD's weights and the archives that hold them, in which some leave them."""


def is_below_roots(path: Path) -> bool:
    """Whether a path is one below the data roots."""
    return DATA in path.parts


def located(path: Path) -> Path:
    """Where a path below the data roots lies; as it is where nothing is found, or where it is another."""
    if not is_below_roots(path):
        return path
    tail = _tail(path)
    places = (inside for root in data_roots() for f in _FOLDERS for inside in _insides(root / f, tail))
    return next((p for p in places if p.exists()), path)


def require(path: Path, seed: str = "") -> None:
    """Raise MissingData where a path below the data roots, of which ``{seed}`` is `seed`, is nowhere."""
    own = Path(str(path).replace("{seed}", seed))
    if not is_below_roots(path) or located(own) != own:
        return
    tail = _tail(path)
    archive = OPENOOD.get(tail.parts[0])
    get = "put it there, or name by --data-root the folder that holds it"
    if archive:
        get = (
            f"python scripts/download/download.py --contents checkpoints --checkpoints {archive} --save_dir"
            " DATA_ROOT DATA_ROOT/results of github.com/Jingkang50/OpenOOD (a zip file on Google Drive)"
        )
    looked = [root / f for root in data_roots() for f in _FOLDERS]
    missing(f"seed {seed}" if own != path else "", looked, get, f"the file {str(tail)!r}")


def _tail(path: Path) -> Path:
    return Path(*path.parts[path.parts.index(DATA) + 1 :])


def _insides(folder: Path, tail: Path) -> list[Path]:
    archive = OPENOOD.get(tail.parts[0])
    return [
        folder / inside / more / tail for inside in _INSIDE for more in ("", *([archive] if archive else []))
    ]
