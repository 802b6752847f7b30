"""The plain description of a suite, checked and resolved: a Suite. Every mistake of a file is found before
any work, and all are shown at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oodbench.core import registry
from oodbench.core.errors import UserError, shown
from oodbench.suite.problems import Problems, validated
from oodbench.suite.suite import Suite


def parse_suite(raw: Any, *, file: Path | None = None, plugins: Sequence[Path] = ()) -> Suite:
    """A Suite from its plain description, as `load.read_plain` returns it.

    Plugins are loaded first, since the rest names what they register. Raises UserError with one line per
    mistake: file, key path, what is wrong, what is allowed.
    """
    where = str(file) if file else "suite"
    if not isinstance(raw, Mapping):
        required = [name for name, field in Suite.model_fields.items() if field.is_required()]
        raise UserError(
            f"{where}: a suite should be a mapping with the keys {', '.join(required)}, got"
            f" {type(raw).__name__}"
        )
    found = Problems()
    folder = file.parent if file else None
    loaded = _load_plugins(raw.get("plugins", []), folder, plugins, found)
    plain = {str(key): value for key, value in raw.items()} | {"plugins": loaded}
    suite: Suite | None = found.tried("", validated, Suite, plain, {"folder": folder, "file": file})
    if suite is None or found:
        raise UserError(
            "\n".join(
                f"{where}: {path}: {message}" if path else f"{where}: {message}"
                for path, message in dict.fromkeys(found)
            )
        )
    return suite


def _load_plugins(raw: Any, folder: Path | None, more: Sequence[Path], found: Problems) -> list[Path]:
    if not isinstance(raw, list) or any(not isinstance(p, str) for p in raw):
        found.append(("plugins", f"should be a list of Python files, got {shown(raw)}"))
        raw = []
    files = [(Path(p) if folder is None else folder / p).resolve() for p in raw] + [p.resolve() for p in more]
    files = list(dict.fromkeys(files))
    for i, path in enumerate(files):
        found.tried(f"plugins[{i}]" if i < len(raw) else "--plugin", registry.load_plugin, path)
    return files
