"""From a YAML file to a suite: the only reader of a suite's YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from oodbench.core.errors import UserError, one_line, shown
from oodbench.core.files import readable
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
        text = readable(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); give the path of a suite file, or a name that"
            " `oodbench list suites` shows"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: is not a text file; give the path of a suite file") from None
    try:
        return _plain(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or error
        raise UserError(f"{place}: not valid YAML: {one_line(problem)}") from None
    except RecursionError:
        raise UserError(f"{file}: not valid YAML: it is nested too deeply") from None


MOST_VALUES = 100_000
"""Values that a suite may hold once its aliases are written out: few lines can stand for billions."""


def _plain(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _written_out(node, {})
        return loader.construct_document(node)  # type: ignore[no-untyped-call]
    finally:
        loader.dispose()  # type: ignore[no-untyped-call]


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node holds with its aliases written out; an alias is its anchor's own node. Raises
    where that is too many, or never ends."""
    if known.get(id(node)) == 0:
        raise yaml.composer.ComposerError(None, None, "an alias stands inside itself", node.start_mark)
    if id(node) not in known:
        known[id(node)] = 0
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        known[id(node)] = 1 + sum(_written_out(part, known) for part in parts)
        if known[id(node)] > MOST_VALUES:
            raise yaml.composer.ComposerError(
                None, None, f"it holds more than {MOST_VALUES} values, aliases written out", node.start_mark
            )
    return known[id(node)]


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, of which YAML would silently keep the last, and says
    where a value stands that cannot be made (a date in month 99, an integer of 5,000 digits)."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:
            written = shown(node.value) if isinstance(node, yaml.ScalarNode) else "a value"
            raise yaml.constructor.ConstructorError(
                None, None, f"{written} cannot be read ({one_line(error, 80)})", node.start_mark
            ) from None


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
