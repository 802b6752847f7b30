"""The suites that come with the package, found by name: ``digits``, ``openood/cifar10``.

They are ordinary files with a path, for a suite's plugins and data start at its folder."""

from __future__ import annotations

from pathlib import Path

from oodbench.core.errors import UserError, meant


def folder() -> Path:
    """Where the suites lie: inside an installed package, or at the top of a checkout, their only source."""
    installed = Path(__file__).with_name("files")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "suites"


def names() -> list[str]:
    """All of them, sorted: the path below the folder, without ``.yaml``."""
    return sorted(f.relative_to(folder()).with_suffix("").as_posix() for f in folder().rglob("*.yaml"))


def find(given: Path | str) -> Path:
    """The file of a suite.

    Args:
        given: A path, with or without ``.yaml``, or the name of a suite that comes with the package. A file
            in the working folder wins.

    Raises:
        UserError: A name that no suite has; the line says the nearest and lists all.
    """
    for file in (Path(given), Path(f"{given}.yaml")):
        if file.is_file():
            return file
    name, known = Path(given).as_posix(), names()
    if name in known:
        return folder() / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")) or Path(given).exists():
        return Path(given)  # who reads it says what is wrong with it
    raise UserError(
        f"{given}: no suite file is there, and no suite of the package has this name{meant(name, known)}"
    )
