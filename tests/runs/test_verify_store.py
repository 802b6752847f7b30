"""Verification of the store's files by their checksums, and of every metric by what is stored."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch import Tensor

from oodbench.core import registry
from oodbench.core.outputs import Outputs
from oodbench.evaluation.csv_text import to_csv
from oodbench.evaluation.rows import read_rows
from oodbench.runs import verify
from oodbench.runs.findings import CONTRADICTED, HOLDS, UNCHECKED, to_lines
from oodbench.runs.reopen import reopened
from oodbench.runs.runner import run
from oodbench.scoring.scorers.logits import MSP
from oodbench.suite.parse import parse_suite
from tests.runs.checked import findings, forge, only_contradicted, rewrite, seal, states, stored
from tests.runs.suites import GONE, PAIR, SMALL, plugin


def test_a_failed_scorer_left_nothing_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: MSP, outputs: Outputs) -> Tensor:
        raise ValueError("as a test wants it")

    suite = SMALL | {"methods": [{"ensemble": {"members": 2}}], "scorers": ["msp", "mutual-information"]}
    with monkeypatch.context() as broken:
        broken.setattr(MSP, "score", fails)
        done = run(parse_suite(suite), results=tmp_path, device="cpu", plots=False)
    assert set(done.rows.loc[done.rows["scorer"] == "msp", "status"]) == {"failed"}
    assert states(done.folder)["metrics"] == HOLDS


@pytest.mark.parametrize("kind", ["outputs", "scores", "weights"])
def test_one_byte_of_a_stored_file_changed(bare: Path, kind: str) -> None:
    file = sorted((bare.parent / ".store" / kind).rglob(f"{kind}.safetensors"))[0]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    why = only_contradicted(bare, "checksums")
    assert f"{kind} {file.parent.name[:12]} (" in why
    assert f"{kind}.safetensors does not match its checksum" in why
    assert file.read_bytes() == bytes(data), "told, not touched"


def test_damaged_scores_of_a_tuned_scorer_are_seen(rich: Path) -> None:
    """Which scores there should be is known only once the stored choice is."""
    held = next(reopened(rich).held())
    scorer = next(s for s in held.run.scorers if s.label == "energy [id]")
    assert scorer.spec != scorer.declared, "the choice is not what the suite declares"
    key = held.run.scores_key(scorer, "six")
    file = rich.parent / ".store" / "scores" / key[:2] / key / "scores.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert f"scores {key[:12]} (" in only_contradicted(rich, "checksums")


def test_scores_forged_together_with_their_checksum_contradict_the_metrics(bare: Path) -> None:
    forge(stored(bare, "scores", "blobs")[0], lambda t: {k: v * 0 for k, v in t.items()})
    found = findings(bare)
    assert {w for w, f in found.items() if f.state == CONTRADICTED} == {"metrics", "report.html"}, found
    assert "auroc of digits / " in found["metrics"].why


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("scores", "meta", "{}"),
        ("outputs", "meta", "[1]"),
        ("weights", "run", "{"),
        ("weights", "history", "7"),
    ],
)
def test_an_artefact_of_nonsense_with_its_checksum_is_one_line(
    bare: Path, kind: str, name: str, text: str
) -> None:
    """Whole by its manifest, it may hold anything: no error of a library comes through."""
    folder = stored(bare, kind)[0]
    (folder / f"{name}.json").write_text(text)
    seal(folder)
    found = verify.folder(bare)
    assert all(line.isprintable() for line in to_lines(found))
    (why,) = (f.why for f in found if f.what == "checksums" and f.state == CONTRADICTED)
    assert f"{kind} {folder.name[:12]} (" in why


def test_an_artefact_of_other_tensors_is_told(bare: Path) -> None:
    forge(stored(bare, "scores", "val")[0], lambda t: {"other": t["scores"]})
    assert findings(bare)["metrics"].state in (CONTRADICTED, UNCHECKED)


def test_one_metric_in_the_csv_changed(bare: Path) -> None:
    ood = rewrite(bare, "msp", "ks", -0.001)
    found = findings(bare)
    assert {w for w, f in found.items() if f.state == CONTRADICTED} == {
        "leaderboard.csv",
        "report.html",
        "metrics",
    }
    why = found["metrics"].why
    assert why.startswith("ks of digits / mlp(hidden=[16]) / cross-entropy / msp / ")
    assert re.search(rf"/ {ood} / split 0 / seed 0 is \S+ in results\.csv, the store gives ", why)


@pytest.mark.parametrize("where", ["clean", "on ID", "on OOD"])
def test_a_falsified_number_is_found_under_every_condition(attacked: Path, where: str) -> None:
    rows = read_rows(attacked / "results.csv")
    mine = rows["condition"].str.endswith(where) & (rows["ood"] != "")
    at = rows.index[mine][-1]
    rows.loc[at, "auroc"] = 1 - rows.loc[at, "auroc"]
    (attacked / "results.csv").write_text(to_csv(rows))
    found = findings(attacked)["metrics"]
    assert found.state == CONTRADICTED
    assert "auroc" in found.why


def test_rows_that_cannot_be_made_again_are_not_said_to_hold(tmp_path: Path) -> None:
    """A set that was there when the suite ran and is not here now."""
    here = plugin(tmp_path, GONE.replace("raise MissingData", "return noise() #").replace(
        "import oodbench\n", "import oodbench\nfrom oodbench.core import registry\n"
        "def noise():\n    return registry.build('dataset', registry.resolve('dataset',"
        " {'noise': {'size': 8, 'channels': 1, 'count': 50}}))['test']\n",
    ))  # fmt: skip
    pair = {"name": "p", "id": PAIR["id"], "near": PAIR["near"], "far": {"gone": "gone"}}
    with registry.isolated():
        done = run(
            parse_suite(SMALL | {"pairs": [pair]}, plugins=[here]),
            results=tmp_path, device="cpu", plots=False,
        )  # fmt: skip
    assert set(done.rows["status"]) == {"ok"}
    (tmp_path / "elsewhere").mkdir()
    found = verify.folder(done.folder, plugins=[plugin(tmp_path / "elsewhere", GONE)])
    metrics = {f.state: f.why for f in found if f.what == "metrics"}
    assert "/ gone / seed 0: data set 'gone': not in /nowhere" in metrics[UNCHECKED]
    assert metrics[HOLDS].startswith("3 rows "), "the network, msp on ID alone and on the set that is here"
    assert not [f for f in found if f.state == CONTRADICTED]
