"""A suite's file: text to plain values, and to a suite."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import oodbench
from oodbench.core.errors import UserError
from oodbench.suite.load import load_suite, read_plain
from tests.conftest import TINY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", ":1:"),
        ("name: a\nname: b\n", "stands twice"),
        ("a: b: c", "not valid YAML"),
        ("name: !!python/object:os.system x", "not valid YAML"),
    ],
)
def test_yaml_mistakes_carry_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        load_suite(file)
    assert str(caught.value).startswith(str(file))
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_suite(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a text file"):
        load_suite(file)


def test_the_plain_file_is_neither_checked_nor_resolved(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text("scorers: [{mspp: {k: 0}}]\nreference: [{id_accuracy: 95.06}]\n")
    assert read_plain(file) == {"scorers": [{"mspp": {"k": 0}}], "reference": [{"id_accuracy": 95.06}]}


def test_a_plugin_from_the_command_line_comes_beside_those_of_the_suite(tmp_path: Path) -> None:
    scorer = "from oodbench import scorer\n\n@scorer('{0}', source='t')\nclass S: ...\n"
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(scorer.format(f"t-{name}"))
    (tmp_path / "suite.yaml").write_text(
        TINY.replace("scorers: [msp", "scorers: [t-first, t-second") + "plugins: [first.py]\n"
    )
    suite = load_suite(tmp_path / "suite.yaml", plugins=[tmp_path / "second.py"])
    assert [p.name for p in suite.plugins] == ["first.py", "second.py"]
    (tmp_path / "suite.yaml").write_text(TINY.replace("[msp", "[msp, t-third"))
    with pytest.raises(UserError, match=r"scorers\[1\]: unknown scorer 't-third'"):
        load_suite(tmp_path / "suite.yaml")


def test_no_other_module_reads_yaml() -> None:
    """One place says what is wrong with a suite's file, whoever asks for it."""
    package = Path(oodbench.__file__).parent
    reads = re.compile(r"yaml\.((safe_|full_|unsafe_)?load|\w*Loader)")
    found = {f.relative_to(package).as_posix() for f in package.rglob("*.py") if reads.search(f.read_text())}
    assert found == {"suite/load.py"}
