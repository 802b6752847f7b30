"""Bad suites, by the hundred: each ends in one line that says where and what, before anything is written.

A row of the table is a change to a good suite, by hand or made by a rule from the schema of a key; whoever
adds a key gets its bad values here for nothing."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from oodbench.core import registry
from tests.cli.calls import call

GOOD: dict[str, Any] = {
    "name": "s",
    "pairs": [
        {
            "name": "p",
            "id": {"digits": {"classes": [0, 1, 2]}},
            "near": {"seven": {"digits": {"classes": [7]}}},
        }
    ],
    "networks": [{"mlp": {"hidden": [8]}}],
    "methods": ["cross-entropy", {"als": {"lam": 2.0}}],
    "scorers": ["msp", {"knn": {"k": 5}}],
    "seeds": [0],
    "recipe": {"epochs": 1, "batch_size": 64, "lr": 0.05},
    "tune": ["none"],
    "attacks": [{"pgd": {"eps": "8/255", "steps": 2}}],
    "claims": [{"id": "c", "says": "x", "compare": ["als(lam=2)", "cross-entropy"], "expect": "higher"}],
    "reference": [{"method": "cross-entropy", "id_accuracy": 90.0, "source": "a paper"}],
    "inapplicable": "refuse",
}

NESTED: Any = "x"
for _ in range(40):
    NESTED = [NESTED]

WRONG: list[Any] = [
    None, True, -1, 0.5, "", "nothing-of-that-name", [], {}, [[]], {"a": {"b": 1}}, NESTED, math.inf,
    math.nan, 2**63, 10**400, "x\x1b[31m", "a\nb", "x" * 20_000,
]  # fmt: skip
"""Values that fit few keys: what does fit one is left out below."""

TABLE = yaml.safe_load(Path(__file__).with_name("bad_suites.yaml").read_text())


def _bad(key: dict[str, list[Any]]) -> list[Any]:
    fits = [repr(v) for v in key["fits"]]
    return [w for w in WRONG if repr(w) not in fits] + key["bad"]


def changes() -> Iterator[tuple[str, dict[str, Any]]]:
    """A name for each bad suite, and the suite."""
    for key, value in [(k, v) for k, row in TABLE["suite"].items() for v in _bad(row)]:
        yield key, GOOD | {key: value}
    for key in ("name", "pairs", "networks", "methods", "scorers"):
        yield key, {k: v for k, v in GOOD.items() if k != key}
    yield "methods", GOOD | {"methods": [{"als": {"lam": {"grid": list(range(10_001))}}}]}
    for key, value in [(k, v) for k, row in TABLE["recipe"].items() for v in _bad(row)]:
        yield f"recipe.{key}", GOOD | {"recipe": GOOD["recipe"] | {key: value}}
    for key, value in [(k, v) for k, row in TABLE["pair"].items() for v in _bad(row)]:
        yield f"pairs.{key}", GOOD | {"pairs": [GOOD["pairs"][0] | {key: value}]}
    for part in ("", "recipe", "pairs"):
        inner = {"nonsense": 1}
        yield "nonsense", GOOD | (
            {part: GOOD["recipe"] | inner} if part == "recipe"
            else {part: [GOOD["pairs"][0] | inner]} if part else inner
        )  # fmt: skip


CHANGES = {f"{key}-{i}": suite for i, (key, suite) in enumerate(changes())}

_LAUGHS = [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)]
TEXTS = {
    "empty": "",
    "a comment": "# nothing\n",
    "a list": "- a\n",
    "a number": "3\n",
    "a text": "abc\n",
    "tabs": "name:\t[\n",
    "open bracket": "name: [",
    "a key twice": "name: a\nname: b\n",
    "two documents": "name: a\n---\nname: b\n",
    "a tag of Python": "name: !!python/object/apply:os.system [echo]\n",
    "an unknown tag": "name: !x y\n",
    "a bad date": "name: 2024-99-99\n",
    "a bad time": "name: 2024-01-01 99:99:99\n",
    "a long integer": f"seeds: [{'9' * 5000}]\n",
    "bad binary": "name: !!binary '@@@'\n",
    "a bad float": "name: !!float abc\n",
    "a bad integer": "name: !!int 0x\n",
    "deep lists": "claims: " + "[" * 3000 + "]" * 3000 + "\n",
    "deep mappings": "claims: " + "{a: " * 3000 + "1" + "}" * 3000,
    "an alias inside itself": "name: &a [*a]\n",
    "an unknown alias": "name: *a\n",
    "a billion laughs": "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(_LAUGHS) + "scorers: *a11\n",
    "a merge of itself": "a: &a {<<: *a}\n",
    "a NUL": "name: a\0b\n",
    "a bell": 'name: "a\x07b"\n',
    "a list as key": "? [a, b]\n: 1\n",
    "a mapping as key": "? {a: b}\n: 1\n",
    "a set": "name: !!set {a, b}\n",
    "an open quote": "name: 'a\n",
    "a wrong indent": "name: a\n  pairs: b\n",
    "a directive": "%YAML 9.9\n---\nname: a\n",
}
FILES = {
    "latin-1": "name: café\n".encode("latin-1"),
    "utf-16": "name: a\n".encode("utf-16"),
    "binary": bytes(range(256)),
    "gzip": b"\x1f\x8b\x08\x00abc",
    "pdf": b"%PDF-1.4\x00\xff",
}


def refused(args: list[object], capsys: pytest.CaptureFixture[str], cwd: Path) -> str:
    """What a command says that must end with status 1, in lines of a bearable length, and leave nothing."""
    before = sorted(cwd.rglob("*"))
    with registry.isolated():
        status = call(*args)
    captured = capsys.readouterr()
    assert status == 1, (status, captured.out[-300:], captured.err[-300:])
    lines = captured.err.splitlines()
    assert lines
    assert all(line.startswith("error: ") for line in lines), captured.err[:600]
    assert len(lines) <= 4
    assert max(map(len, lines)) <= 2010
    assert all(line.isprintable() for line in lines), captured.err[:600]
    assert sorted(cwd.rglob("*")) == before, "nothing is left behind"
    return captured.err


def test_the_good_suite_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(GOOD))
    assert call("run", tmp_path / "s.yaml", "--results", tmp_path / "r", "--dry-run") == 0
    assert "2 runs, 0 of" in capsys.readouterr().out


@pytest.mark.parametrize("case", CHANGES)
def test_a_bad_value_is_one_line_with_its_place(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(copy.deepcopy(CHANGES[case]), allow_unicode=True))
    said = refused(["run", file, "--results", tmp_path / "r", "--dry-run", "--offline"], capsys, tmp_path)
    key = case.rpartition("-")[0].partition(".")[0]
    assert str(file) in said
    assert key.removesuffix("s") in said, "where"


@pytest.mark.parametrize("case", [*TEXTS, *FILES])
def test_a_file_that_is_no_suite_is_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "s.yaml"
    file.write_bytes(FILES[case] if case in FILES else TEXTS[case].encode())
    said = refused(["run", file, "--results", tmp_path / "r", "--dry-run"], capsys, tmp_path)
    assert str(file) in said
