"""The user's own files: run once, hashed, remembered."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import types
from pathlib import Path
from typing import Any

import pydantic

from oodbench.core.errors import ANYTHING, meant, reason_of, shown
from oodbench.core.identity import file_sha256


class Code(str):
    """A user's function or class as text, ``pkg.mod:name`` or ``file.py:name`` (from the suite's folder): a
    type for parameters.

    `target` is what was found there. Its identity is the sha256 of the file that defines it, never where that
    file lies."""

    target: Any
    sha256: str

    @property
    def identity(self) -> dict[str, str]:
        return {"name": self.rpartition(":")[2], "code": self.sha256}

    @classmethod
    def of_text(cls, text: Any, info: pydantic.ValidationInfo) -> Code:
        if isinstance(text, Code):
            return text
        place, _, name = text.rpartition(":") if isinstance(text, str) else ("", "", "")
        if not place or not name.isidentifier():
            raise ValueError(f"should be 'pkg.mod:name' or 'file.py:name', got {shown(text)}")
        if place.endswith(".py"):
            file = from_folder(Path(place), info).resolve()
            if not file.is_file():
                raise ValueError(f"no such file: {file}")
            place, module = str(file), _code_module(file)
        else:
            try:
                module = importlib.import_module(place)
            except ANYTHING as error:
                raise ValueError(f"cannot import {place!r} ({reason_of(error)})") from None
        if not callable(getattr(module, name, None)):
            there = [
                n
                for n, v in vars(module).items()
                if callable(v) and getattr(v, "__module__", "") == module.__name__
            ]
            raise ValueError(f"{place} has no function or class {name!r}{meant(name, there)}")
        code = cls(f"{place}:{name}")
        code.target = getattr(module, name)
        code.sha256 = code_of(code.target)  # of what was loaded: the file may change while we run
        return code


def run_file(file: Path, name: str) -> types.ModuleType:
    """A user's file, run as the module `name`; what it raises is passed on, and then no module is left."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: typing.get_type_hints looks there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _code_module(file: Path) -> types.ModuleType:
    """The file as a module; again it runs only if it changed."""
    name = (
        f"oodbench_code_{file.stem}_{hashlib.sha256(str(file).encode() + file.read_bytes()).hexdigest()[:8]}"
    )
    try:
        return sys.modules[name] if name in sys.modules else run_file(file, name)
    except ANYTHING as error:
        raise ValueError(f"cannot run {file} ({reason_of(error)})") from None


def code_of(target: Any) -> str:
    """sha256 of the source that defines a component from outside this package; ours is versioned by hand
    instead."""
    if target.__module__.split(".")[0] == "oodbench":
        return ""
    module = sys.modules.get(target.__module__)
    file = getattr(module, "__file__", None)
    if file and Path(file).is_file():
        return file_sha256(Path(file))
    try:
        return hashlib.sha256(inspect.getsource(target).encode()).hexdigest()
    except (OSError, TypeError):
        return f"{target.__module__}.{target.__qualname__}"


DATA = "{data}"
"""What a path begins with that lies below a data root, wherever that is."""


def from_folder(path: Path, info: pydantic.ValidationInfo) -> Path:
    """A path as a suite file means it: from the folder of that file, or below a data root. ValueError where
    nothing follows ``{data}``."""
    folder = (info.context or {}).get("folder")
    path = path.expanduser()
    if path.parts[-1:] == (DATA,):
        raise ValueError(
            f"should say what lies below the data roots, such as {DATA}/a/file, got {shown(str(path))}"
        )
    return path if folder is None or path.is_absolute() or path.parts[:1] == (DATA,) else folder / path
