"""Every command on results folders with one damaged file: one line that names the file, never a traceback,
never silence.

A command that does not read the damaged file says what it says of a whole folder. What no single file shows
(a number changed to another possible one, a row gone) is found by `verify`."""

from __future__ import annotations

import functools
import gzip
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from oodbench.cli.main import main
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite

SUITE = {
    "name": "small", "pairs": [{
        "name": "p", "id": {"digits": {"classes": [0, 1, 2, 3]}},
        "near": {"six": {"digits": {"classes": [6]}}},
        "far": {"grey": {"noise": {"size": 8, "channels": 1, "count": 40}}},
    }],
    "networks": [{"mlp": {"hidden": [8]}}], "methods": ["cross-entropy", "label-smoothing"],
    "scorers": ["msp", "energy"], "recipe": {"epochs": 1, "batch_size": 64, "lr": 0.05},
    "claims": [{
        "id": "better", "says": "Label smoothing detects better.", "expect": "higher",
        "compare": ["label-smoothing", "cross-entropy"],
    }],
    "reference": [{"method": "cross-entropy", "id_accuracy": 95.06, "source": "mine"}],
}  # fmt: skip

COMMANDS: dict[str, tuple[str, ...]] = {
    "leaderboard": ("leaderboard", "F"),
    "leaderboard html": ("leaderboard", "F", "--format", "html"),
    "leaderboard csv": ("leaderboard", "F", "--format", "csv"),
    "costs": ("leaderboard", "F", "--costs", "--format", "latex"),
    "ranks": ("ranks", "F"),
    "compare two": ("compare", "F", "OTHER"),
    "compare within": ("compare", "F", "--where", "method=c*", "--where-b", "method=l*", "--format", "md"),
    "compare reference": ("compare", "F"),
    "merge": ("merge", "F", "-o", "INTO"),
    "merge two": ("merge", "OTHER", "F", "-o", "INTO"),
    "report": ("report", "F", "-o", "PAGE"),
    "claims": ("claims", "F"),
    "verify": ("verify", "F"),
}
"""F is the damaged folder, OTHER a whole one."""
BOARDS = {"leaderboard", "leaderboard html", "leaderboard csv", "costs", "compare reference"}
WHOLE = {"merge", "merge two", "report", "verify"}
"""Commands that read everything that page and pictures are made from."""
READ: dict[str, set[str]] = {
    "results.csv": {*COMMANDS},
    "suite.yaml": {*BOARDS, *WHOLE, "claims"},
    "timing.csv": {"costs", *WHOLE},
    "history.csv": WHOLE,
    "environment.json": WHOLE,
    "leaderboard.csv": {"verify"},
    "claims.csv": {"verify"},
    "report.html": {"verify"},
}
"""Which commands read which file."""
WRITTEN = {("claims.csv", "claims")}


def text(change: Callable[[str], str]) -> Callable[[Path], None]:
    """A damage of a file's text."""

    def damage(file: Path) -> None:
        before = file.read_text(encoding="utf-8")
        after = change(before)
        assert after != before, "no damage"
        file.write_bytes(after.encode("utf-8", "surrogateescape"))

    return damage


def data(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda file: (file.write_bytes(change(file.read_bytes())), None)[1]


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in the place of a file."""
    return lambda file: (file.unlink(), make(file), None)[2]


def packed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A compressed table in the place of the plain one, then damaged."""

    def damage(file: Path) -> None:
        packed_data = gzip.compress(file.read_bytes())
        file.unlink()
        file.with_name(f"{file.name}.gz").write_bytes(change(packed_data))

    return damage


def cell(column: str, value: str, row: int = 2) -> Callable[[Path], None]:
    """One cell of a table, not in its first row."""

    def change(table: str) -> str:
        lines = table.splitlines()
        at = lines[0].split(",").index(column)
        row_at = next(i for i in range(row, len(lines)) if _parts(lines[i])[at])
        parts = _parts(lines[row_at])
        parts[at] = value
        return "\n".join([*lines[:row_at], ",".join(parts), *lines[row_at + 1 :]]) + "\n"

    return text(change)


def _parts(line: str) -> list[str]:
    """The cells of a line as they are written, quotes included."""
    found, quoted = [""], False
    for c in line:
        quoted ^= c == '"'
        if c == "," and not quoted:
            found.append("")
        else:
            found[-1] += c
    return found


def line(at: int, change: Callable[[str], str]) -> Callable[[Path], None]:
    def damage(table: str) -> str:
        lines = table.splitlines()
        lines[at] = change(lines[at])
        return "\n".join(lines) + "\n"

    return text(damage)


def _without(table: str, column: int = -1) -> str:
    return "\n".join(",".join(p for i, p in enumerate(_parts(x)) if i != column % len(_parts(x))) for x in
                     table.splitlines()) + "\n"  # fmt: skip


ANYWHERE: dict[str, Callable[[Path], None]] = {
    "empty": data(lambda b: b""),
    "binary": data(lambda b: bytes(range(256)) * 4),
    "a byte that is no text": data(lambda b: b[:20] + b"\xff" + b[20:]),
    "a NUL byte": data(lambda b: b[:20] + b"\0" + b[20:]),
    "NUL bytes at the end": data(lambda b: b + b"\0" * 512),
    "UTF-16": data(lambda b: b.decode().encode("utf-16")),
    "Latin-1": data(lambda b: b[:10] + "ä".encode("latin-1") + b[10:]),
    "a folder": instead(lambda f: f.mkdir()),
    "a link into nothing": instead(lambda f: f.symlink_to("nowhere")),
    "a link to itself": instead(lambda f: f.symlink_to(f.name)),
    "a pipe": instead(os.mkfifo),
    "a device": instead(lambda f: f.symlink_to("/dev/zero")),
}
"""Damages of any file."""
TABLE: dict[str, Callable[[Path], None]] = ANYWHERE | {
    "no line end": data(lambda b: b[:-1]),
    "cut within a row": data(lambda b: b[: len(b) * 2 // 3].rstrip(b"\n")),
    "a row cut short": line(2, lambda x: ",".join(_parts(x)[:-1])),
    "a row too long": line(2, lambda x: x + ",1"),
    "two rows in one": text(lambda t: t.replace("\n", "", 2).replace("\n", "\n", 1)),
    "a column twice": text(lambda t: t.replace(t.split(",")[1], t.split(",")[0], 1)),
    "a column gone": text(functools.partial(_without, column=1)),
    "the last column gone": text(_without),
    "no header": text(lambda t: t.partition("\n")[2]),
    "a quote left open": line(2, lambda x: '"' + x),
    "other separators": text(lambda t: t.replace(",", ";")),
    "no table": text(lambda t: "<html><body>not found</body></html>\n"),
    "a hidden character": line(2, lambda x: x.replace("c", "c\u202e", 1)),
    "an escape code": line(2, lambda x: x.replace("c", "c\x1b[31m", 1)),
    "a merge conflict": text(lambda t: "<<<<<<< HEAD\n" + t + "=======\n>>>>>>> other\n"),
    "packed and cut": packed(lambda b: b[: len(b) // 2]),
    "packed and no gzip": packed(lambda b: b"x" + b),
    "packed with a changed byte": packed(lambda b: b[:60] + bytes([b[60] ^ 255]) + b[61:]),
    "two forms": lambda f: (f.with_name(f.name + ".gz").write_bytes(gzip.compress(f.read_bytes())), None)[1],
}  # fmt: skip
NUMBERS = {
    "a word": "abc", "no number": "nan", "a decimal comma": '"1,5"', "infinite": "inf",
    "minus infinite": "-inf", "beyond floats": "1e999", "true": "True", "hexadecimal": "0x1F",
    "an underscore": "1_0", "a date": "2024-99-99",
}  # fmt: skip
DAMAGES: dict[str, dict[str, Callable[[Path], None]]] = {
    "results.csv": TABLE
    | {name: cell("auroc", value) for name, value in NUMBERS.items()}
    | {
        "a fraction above 1": cell("auroc", "1.5"), "a negative fraction": cell("fpr95_in", "-0.1"),
        "a negative count": cell("n_id", "-3"), "a word in another metric": cell("nll", "low"),
        "an unknown status": cell("status", "fine"),
        "the header alone": text(lambda t: t.splitlines()[0] + "\n"),
    },
    "timing.csv": TABLE
    | {name: cell("seconds", NUMBERS[name]) for name in ("a word", "no number", "infinite")}
    | {"negative": cell("seconds", "-1"), "bytes of words": cell("bytes", "many")},
    "history.csv": {k: v for k, v in TABLE.items() if k != "the last column gone"}
    | {"a word": cell("loss", "low"), "negative": cell("epoch", "-1")}
    | {"above 1": cell("val_accuracy", "1.5")},
    "suite.yaml": ANYWHERE
    | {
        "no mapping": text(lambda t: "[1, 2]\n"), "a word": text(lambda t: "nonsense\n"),
        "no YAML": text(lambda t: t + "{[\n"), "a tab": text(lambda t: "\t" + t),
        "a tag of Python": text(lambda t: t + "x: !!python/object/apply:os.system [true]\n"),
        "deep": text(lambda t: t + "x: " + "[" * 400 + "]" * 400 + "\n"),
        "aliases": text(lambda t: t + "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9))),
        "a key twice": text(lambda t: t + "name: other\n"),
        "two documents": text(lambda t: t + "---\n" + t),
        "an endless integer": text(lambda t: t + "x: " + "9" * 5000 + "\n"),
        "figures of words": text(lambda t: t.replace("id_accuracy: 95.06", "id_accuracy: many")),
        "figures of another type": text(lambda t: t.partition("reference:")[0] + "reference: 5\n"),
        "infinite figures": text(lambda t: t.replace("id_accuracy: 95.06", "id_accuracy: .inf")),
    },
    "environment.json": ANYWHERE
    | {
        "cut": data(lambda b: b[: len(b) // 2]), "a list": text(lambda t: "[1]"),
        "a word": text(lambda t: '"x"'), "null": text(lambda t: "null"),
        "deep": text(lambda t: "[" * 200_000), "NaN": text(lambda t: '{"a": NaN}'),
        "a key twice": text(lambda t: '{"a": 1, "a": 2}'), "YAML": text(lambda t: "torch: 2\n"),
        "more behind": text(lambda t: t + "{}"),
        "an endless integer": text(lambda t: '{"a": ' + "9" * 5000 + "}"),
    },
    "leaderboard.csv": {k: TABLE[k] for k in (
        "empty", "UTF-16", "a folder", "a pipe", "no line end", "a row cut short", "a column gone",
    )} | {"a word": cell("near_auroc", "high")},
    "claims.csv": {k: TABLE[k] for k in (
        "empty", "a NUL byte", "a link into nothing", "a row too long", "a column twice", "a quote left open",
    )},
    "report.html": {k: ANYWHERE[k] for k in ("empty", "binary", "a folder", "a pipe", "a link to itself")}
    | {"cut": data(lambda b: b[: len(b) // 2])},
}  # fmt: skip
NAMES_A_FIGURE = {"figures of words", "figures of another type", "infinite figures"}
"""The file can be read, and only who looks at the figures minds them."""

HARMLESS: dict[str, Callable[[Path], None]] = {
    "a byte-order mark": data(lambda b: b"\xef\xbb\xbf" + b),
    "line ends of Windows": data(lambda b: b.replace(b"\n", b"\r\n")),
    "an empty line at the end": data(lambda b: b + b"\n"),
    "a link to the file": lambda f: (f.rename(f.with_name("." + f.name)), f.symlink_to("." + f.name), None)[
        2
    ],
}
"""The content is the same, and so is what every command says."""

POSSIBLE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a number": ("results.csv", cell("auroc", "0.123")),
    "another row's number": ("results.csv", cell("ks", "0.4567", row=5)),
    "the last row gone": ("results.csv", text(lambda t: t.rpartition("\n")[0].rpartition("\n")[0] + "\n")),
    "a row twice": ("results.csv", text(lambda t: t + t.splitlines()[-1] + "\n")),
    "a seed": ("results.csv", cell("seed", "7")),
    "a key": ("results.csv", cell("run_key", "0" * 64)),
    "a method": ("results.csv", text(lambda t: t.replace("label-smoothing", "als"))),
    "a recipe": ("suite.yaml", text(lambda t: t.replace("lr: 0.05", "lr: 0.06"))),
    "a figure": ("suite.yaml", text(lambda t: t.replace("95.06", "55.06"))),
    "a claim": ("suite.yaml", text(lambda t: t.replace("expect: higher", "expect: lower"))),
    "suite cut": ("suite.yaml", text(lambda t: t.partition("reference:")[0])),
    "suite with a key of nobody's": ("suite.yaml", text(lambda t: t + "other: 1\n")),
    "suite of an unknown scorer": ("suite.yaml", text(lambda t: t.replace("energy", "ennergy"))),
    "seconds": ("timing.csv", cell("seconds", "0.5")),
    "bytes": ("timing.csv", cell("bytes", "12")),
    "a row of timing gone": ("timing.csv", text(lambda t: t.rpartition("\n")[0].rpartition("\n")[0] + "\n")),
    "a loss": ("history.csv", cell("loss", "0.5", row=1)),
    "an accuracy": ("history.csv", cell("val_accuracy", "0.99", row=1)),
    "a column that earlier versions lack": ("history.csv", text(_without)),
    "a version": ("environment.json", text(lambda t: t.replace('"torch": "', '"torch": "9'))),
    "a command": ("environment.json", text(lambda t: t.replace('"command": "', '"command": "other'))),
    "a mean": ("leaderboard.csv", cell("near_auroc", "0.5")),
    "a count": ("leaderboard.csv", cell("n_trials", "3")),
    "a verdict": ("claims.csv", cell("verdict", "supported")),
    "a p value": ("claims.csv", cell("note", "sure", row=1)),
    "a heading": ("report.html", text(lambda t: t.replace("<h1>small", "<h1>large"))),
    "a script": ("report.html", text(lambda t: t.replace("</body>", "<script>alert(1)</script></body>"))),
    "a sentence": ("report.html", text(lambda t: t.replace("Label smoothing detects", "Nothing detects"))),
}
"""Every file can be read; together they contradict one another, or the store."""


# ------------------------------------------------------------------------- running


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole results in ``small`` and, of another seed, in ``other/small``, with one store."""
    root = tmp_path_factory.mktemp("folders")
    suite = parse_suite(SUITE)
    run(suite, results=root, device="cpu", plots=False)
    run(suite.restricted(seeds=[2]), results=root / "other", store=root / ".store", device="cpu", plots=False)
    return root


class Said(NamedTuple):
    status: int
    out: str
    err: str


_number = itertools.count()


def call(home: Path, folder: Path, command: str, capsys: pytest.CaptureFixture[str]) -> Said:
    """What a command says; names that change from call to call are left out of it."""
    into = home / f"into-{next(_number)}"
    places = {
        "F": str(folder),
        "OTHER": str(home / "other" / "small"),
        "INTO": str(into),
        "PAGE": f"{into}.html",
    }
    status = 0
    capsys.readouterr()
    try:
        main([places.get(a, a) for a in COMMANDS[command]])
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    said = capsys.readouterr()
    left = sorted(f.name for f in home.iterdir() if into.name in f.name)
    expected = {"merge": into.name, "merge two": into.name, "report": f"{into.name}.html"}.get(command, "")
    assert left == ([expected] if status == 0 and expected else []), "all or nothing"
    for f in left:
        shutil.rmtree(home / f) if (home / f).is_dir() else (home / f).unlink()
    out, err = (s.replace(into.name, "INTO").replace(folder.name, "F") for s in said)
    assert all(x.isprintable() for x in (out + err).splitlines())
    assert "Traceback" not in out + err
    return Said(status, out, err)


@pytest.fixture
def folder(home: Path) -> Iterator[Path]:
    """A copy to damage, beside the store of the whole one."""
    copy = home / f"copy{next(_number)}"
    shutil.copytree(home / "small", copy)
    yield copy
    shutil.rmtree(copy)


_WHOLE: dict[str, Said] = {}


def whole(home: Path, command: str, capsys: pytest.CaptureFixture[str]) -> Said:
    """What the command says of a folder that is not damaged."""
    if command not in _WHOLE:
        copy = home / f"whole-{next(_number)}"
        shutil.copytree(home / "small", copy)
        _WHOLE[command] = call(home, copy, command, capsys)
        shutil.rmtree(copy)
        assert _WHOLE[command].status == 0, _WHOLE[command]
    return _WHOLE[command]


_ALIKE = {"timing.csv", "history.csv", "environment.json"}
_SEEN_BY_VERIFY = {"empty", "a pipe", "cut within a row", "a word", "two forms", "cut", "a list"}
"""Of files that `verify` reads as others do it has these alone: it takes a second, and they milliseconds."""


def minding(file: str, name: str) -> set[str]:
    """The commands that a damage stops."""
    if name in NAMES_A_FIGURE:  # a page is made without them, and says so
        return {*BOARDS, "merge", "merge two", "claims"}
    return READ[file] - ({"verify"} if file in _ALIKE and name not in _SEEN_BY_VERIFY else set())


CASES = [(file, name) for file, damages in DAMAGES.items() for name in damages]


def test_there_are_enough_of_them() -> None:
    assert sum(len(minding(file, name)) for file, name in CASES) >= 400


@pytest.mark.parametrize(("file", "name"), CASES)
def test_a_damaged_file_is_one_line_in_every_command_that_reads_it(
    home: Path, folder: Path, file: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[file][name](folder / file)
    wrong = []
    for command in sorted(minding(file, name)):
        said = call(home, folder, command, capsys)
        if command == "verify" and file != "results.csv":  # which shows what else follows
            lines = [x for x in said.out.splitlines() if x.startswith("contradicted: ")]
            fine = said.status == 1 and any(file in x for x in lines) and not said.err
        else:
            lines = said.err.splitlines()
            fine = (
                said.status == 1 and len(lines) == 1 and lines[0].startswith("error: ") and file in lines[0]
            )
            fine = fine and len(lines[0]) < 600
        if not fine:
            wrong.append((command, said))
    assert not wrong, wrong[0]


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if any(c not in readers for readers in READ.values())]
)
def test_who_does_not_read_a_file_does_not_mind_it(
    home: Path, folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file that the command has no use for is gone, and a pipe stands there (`claims` writes one)."""
    for file in (f for f, readers in READ.items() if command not in readers and (f, command) not in WRITTEN):
        ANYWHERE["a pipe"](folder / file)
    assert call(home, folder, command, capsys) == whole(home, command, capsys)


@pytest.mark.parametrize("command", ["costs", "compare two", "merge", "claims", "verify"])
@pytest.mark.parametrize("name", HARMLESS)
def test_another_form_of_the_same_content_changes_nothing(
    home: Path, folder: Path, name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (f for f, readers in READ.items() if command in readers):
        if not file.endswith((".html", "claims.csv")) or name.startswith("a link"):
            HARMLESS[name](folder / file)
    assert call(home, folder, command, capsys) == whole(home, command, capsys)


@pytest.mark.parametrize("name", POSSIBLE)
def test_what_only_contradicts_the_rest_is_found_by_verify_and_ends_no_command_in_a_traceback(
    home: Path, folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, damage = POSSIBLE[name]
    damage(folder / file)
    said = call(home, folder, "verify", capsys)
    assert said.status == 1
    assert "contradicted: " in said.out
    for command in READ[file] & {"leaderboard", "claims"}:
        found = call(home, folder, command, capsys)
        assert found.status == 0 or all(x.startswith("error: ") for x in found.err.splitlines())


GONE = {
    "results.csv": {*COMMANDS},
    "suite.yaml": {"costs", "compare reference", "claims"},
    "timing.csv": {"costs"},
}
"""Commands that cannot do without a file; the others do, and say so where it shows."""


@pytest.mark.parametrize("file", READ)
def test_a_file_that_is_not_there_stops_only_who_needs_it(
    home: Path, folder: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / file).unlink()
    for command in READ[file] & {*GONE["suite.yaml"], "leaderboard", "compare two", "merge", "report"}:
        said = call(home, folder, command, capsys)
        assert said.status == int(command in GONE.get(file, ())), (command, said)
        if said.status:
            assert len(said.err.splitlines()) == 1
    said = call(home, folder, "verify", capsys)
    assert said.status == int(file == "results.csv")
    assert said.status or "cannot be checked here" in said.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("file", READ)
def test_a_file_that_may_not_be_read_is_one_line(
    home: Path, folder: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / file).chmod(0)
    for command in READ[file]:
        said = call(home, folder, command, capsys)
        assert said.status == 1
        assert file in said.out + said.err
