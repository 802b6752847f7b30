"""Verification of a real run's folder against its suite and its store: it holds, and one changed byte, metric
or key is said clearly."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from oodbench.core import registry
from oodbench.core.identity import file_sha256
from oodbench.core.outputs import Outputs
from oodbench.evaluation.rows import read_rows, to_csv
from oodbench.runs import verify
from oodbench.runs.findings import CONTRADICTED, HOLDS, UNCHECKED
from oodbench.runs.folder import Contents, ResultsFolder
from oodbench.runs.reopen import reopened, suite_of
from oodbench.runs.runner import run
from oodbench.scoring.scorers.logits import MSP
from oodbench.suite.parse import parse_suite
from tests.cli.calls import call
from tests.runs.checked import all_hold, findings, only_wrong, rewrite, states
from tests.runs.suites import GONE, PAIR, SMALL, plugin

FILES = {"results.csv", "leaderboard.csv", "report.html", "suite", "keys"}


def test_what_a_run_left_behind_holds(tiny_run: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in tiny_run.parent.rglob("*")}
    assert set(states(tiny_run)) == {*FILES, "checksums", "metrics"}
    assert all_hold(tiny_run)
    assert {f: f.stat().st_mtime_ns for f in tiny_run.parent.rglob("*")} == before


@pytest.mark.parametrize("run_of", ["attacked_run", "rich_run"])
def test_so_does_a_run_with_attacks_tuning_or_an_ensemble(
    run_of: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(run_of)
    assert all_hold(folder)
    rows = read_rows(folder / "results.csv")
    ok = (rows["status"] == "ok").sum()
    assert findings(folder)["metrics"].why.startswith(f"{ok} rows "), "every row with numbers is checked"


def test_without_the_store_the_files_alone_are_checked(copied: Path) -> None:
    shutil.rmtree(copied.parent / ".store")
    found = states(copied)
    assert {what for what, s in found.items() if s == HOLDS} == FILES
    assert {what for what, s in found.items() if s == UNCHECKED} == {"checksums", "metrics"}


def test_the_store_may_lie_elsewhere(copied: Path, tmp_path: Path) -> None:
    (copied.parent / ".store").rename(tmp_path / "elsewhere")
    assert states(copied)["metrics"] == UNCHECKED
    assert states(copied, store=tmp_path / "elsewhere")["metrics"] == HOLDS


def test_compressed_tables_are_verified_too(copied: Path) -> None:
    for name in ("results", "timing", "history"):
        file = copied / f"{name}.csv"
        (copied / f"{name}.csv.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert all_hold(copied)


def test_a_failed_scorer_left_nothing_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: MSP, outputs: Outputs) -> Tensor:
        raise ValueError("as a test wants it")

    suite = SMALL | {"methods": [{"ensemble": {"members": 2}}], "scorers": ["msp", "mutual-information"]}
    with monkeypatch.context() as broken:
        broken.setattr(MSP, "score", fails)
        done = run(parse_suite(suite), results=tmp_path, device="cpu", plots=False)
    assert set(done.rows.loc[done.rows["scorer"] == "msp", "status"]) == {"failed"}
    assert states(done.folder)["metrics"] == HOLDS


def test_the_command_says_each_finding_and_exits_with_1_where_one_is_contradicted(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("verify", copied) == 0
    assert "holds: metrics: " in capsys.readouterr().out
    rewrite(copied, "msp", "ks", -0.001)
    assert call("verify", copied) == 1
    assert "contradicted: metrics: ks of digits" in capsys.readouterr().out


# ------------------------------------------------------------------------- the store


@pytest.mark.parametrize("kind", ["outputs", "scores", "weights"])
def test_one_byte_of_a_stored_file_changed(copied: Path, kind: str) -> None:
    file = sorted((copied.parent / ".store" / kind).rglob(f"{kind}.safetensors"))[0]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    why = only_contradicted(copied, "checksums")
    assert f"{kind} {file.parent.name[:12]} (" in why
    assert f"{kind}.safetensors does not match its checksum" in why
    assert file.read_bytes() == bytes(data), "told, not touched"


def only_contradicted(folder: Path, what: str) -> str:
    """Why one thing is contradicted; others may be out of reach because of it."""
    found = findings(folder)
    assert [w for w, f in found.items() if f.state == CONTRADICTED] == [what], found
    return found[what].why


def test_damaged_scores_of_a_tuned_scorer_are_seen(rich: Path) -> None:
    """Which scores there should be is known only once the stored choice is."""
    held = next(reopened(rich).held())
    scorer = next(s for s in held.run.scorers if s.label == "energy [id]")
    assert scorer.spec != scorer.declared, "the choice is not what the suite declares"
    key = held.run.scores_key(scorer, "six")
    file = rich.parent / ".store" / "scores" / key[:2] / key / "scores.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert f"scores {key[:12]} (" in only_contradicted(rich, "checksums")


def test_scores_forged_together_with_their_checksum_contradict_the_metrics(copied: Path) -> None:
    scored = list((copied.parent / ".store" / "scores").rglob("scores.safetensors"))
    file = next(
        f
        for f in scored
        if json.loads((f.parent / "meta.json").read_text())["set"] not in ("train", "val", "test")
    )
    save_file({k: t * 0 for k, t in load_file(file).items()}, file)
    manifest = json.loads((file.parent / "manifest.json").read_text())
    manifest[file.name] = {"sha256": file_sha256(file), "bytes": file.stat().st_size}
    (file.parent / "manifest.json").write_text(json.dumps(manifest))
    assert "auroc of digits / " in only_wrong(copied, "metrics")


# ------------------------------------------------------------------------- rows


def test_one_metric_in_the_csv_changed(copied: Path) -> None:
    ood = rewrite(copied, "msp", "ks", -0.001)
    found = findings(copied)
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


@pytest.mark.parametrize("where", ["clean", "on ID", "on OOD"])
def test_a_row_left_out_is_missed_under_every_condition(attacked: Path, where: str) -> None:
    shutil.rmtree(attacked.parent / ".store")  # the files alone show it
    rows = read_rows(attacked / "results.csv")
    mine = rows["condition"].str.endswith(where) & (rows["ood"] != "")
    (attacked / "results.csv").write_text(to_csv(rows.drop(rows.index[mine][0])))
    found = findings(attacked)["suite"]
    assert found.state == CONTRADICTED
    assert "lacks" in found.why


def test_a_condition_that_the_suite_does_not_ask_for_is_named(attacked: Path) -> None:
    shutil.rmtree(attacked.parent / ".store")
    rows = read_rows(attacked / "results.csv")
    rows["condition"] = rows["condition"].str.replace("fgsm", "pgd")
    ResultsFolder(attacked).write(Contents(rows, suite_of(attacked)))
    assert re.search(r"(fgsm|pgd)\(eps=0\.1\) on (ID|OOD)", only_contradicted(attacked, "suite"))


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


# ------------------------------------------------------------------------- the suite


def test_the_suite_changed(copied: Path) -> None:
    file = copied / "suite.yaml"
    text = file.read_text()
    file.write_text(text.replace("lr: 0.05", "lr: 0.06"))
    keys = findings(copied)["keys"]
    assert keys.state == CONTRADICTED
    assert re.search(
        r"digits / .*: rows carry [0-9a-f]{12}, suite, data and code here give [0-9a-f]{12}", keys.why
    )
    for old, new, said in (
        ("k: 5", "k: 6", "results.csv has digits / "),
        ("seeds: [0]", "seeds: [0, 1]", "the suite asks for digits / "),
        ("name: tiny", "name: other", "rows say 'tiny', suite.yaml 'other'"),
    ):
        assert old in text
        file.write_text(text.replace(old, new))
        found = findings(copied)["suite"]
        assert found.state == CONTRADICTED
        assert found.why.startswith(said)
    file.unlink()
    assert findings(copied)["suite and keys"].state == UNCHECKED


def test_a_parameter_behind_a_name_changed_in_the_suite(attacked: Path) -> None:
    shutil.rmtree(attacked.parent / ".store")
    file = attacked / "suite.yaml"
    text = file.read_text()
    assert "as: free-energy" in text
    file.write_text(text.replace("temperature: 1.0", "temperature: 2.0"))
    why = only_contradicted(attacked, "suite")
    assert re.search(
        r'scorer_params of .* is \{"temperature": 1\.0\} in results\.csv, suite\.yaml asks for'
        r' \{"temperature": 2\.0\}',
        why,
    )
