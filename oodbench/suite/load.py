"""From a YAML file to a suite: the only reader of a suite's YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from oodbench.core.errors import UserError
from oodbench.suite import packaged
from oodbench.suite.parse import parse_suite
from oodbench.suite.suite import Suite


def load_suite(file: Path | str, plugins: Sequence[Path] = ()) -> Suite:
    """Read, check and resolve a suite file; no data are read and nothing is trained yet.

    Args:
        file: the path of a YAML file, or the name of a suite of the package (``oodbench list suites``).
        plugins: Python files that register components, besides those that the suite names.

    Returns:
        The suite with every name, parameter and grid resolved.

    Raises:
        UserError: one line per mistake, all at once: file, key path, what is wrong, what is allowed.

    Example:
        >>> suite = oodbench.load_suite("openood/cifar10")
        >>> [pair.label for pair in suite.pairs], suite.seeds
        (['openood-cifar10'], (0, 1, 2))
    """
    file = packaged.find(file)
    return parse_suite(read_plain(file), file=file, plugins=plugins)


def read_plain(file: Path) -> Any:
    """What a suite's file holds, as plain lists, mappings and values: not checked, not resolved.

    Raises UserError, one line with the place, where the file cannot be read or is not valid YAML, and where a
    key stands twice."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); give the path of a suite file, or a name that"
            " `oodbench list suites` shows"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: is not a text file; give the path of a suite file") from None
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        raise UserError(f"{place}: not valid YAML: {getattr(error, 'problem', None) or error}") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, of which YAML would silently keep the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
        if isinstance(key, str) and key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} stands twice", key_node.start_mark
            )
        seen.add(key if isinstance(key, str) else str(key))
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
