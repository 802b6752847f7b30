"""``oodbench data``: status, download, verify and audit, on small sets in their own formats."""

from __future__ import annotations

import csv
import functools
import hashlib
import http.server
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from oodbench.cli.data import commands
from oodbench.core import registry
from oodbench.core.dataset import Dataset, Pair
from oodbench.core.errors import UserError
from oodbench.data.checks import LOCK, verify
from oodbench.data.needs import Need
from oodbench.data.sources.archives import unpacked
from oodbench.data.sources.download import downloads
from tests.conftest import ROOT
from tests.data.made import pictures, unlabelled


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OODBENCH_OFFLINE", raising=False)


def call(*args: object) -> Result:
    """The command, with a user's mistake as the command line prints it."""
    result = CliRunner().invoke(commands, [str(a) for a in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, UserError), result.exception
    return result


def problem(result: Result) -> str:
    assert isinstance(result.exception, UserError)
    return str(result.exception)


def write_folder(root: Path, classes: tuple[str, ...] = ("auk", "owl"), n: int = 6, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for part in ("train", "test"):
        for c in classes:
            (root / part / c).mkdir(parents=True, exist_ok=True)
            for i in range(n):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
                    root / part / c / f"{i}.png"
                )
    return root


def write_suite(tmp_path: Path, known: str = "{folder: {root: birds}}") -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(f"""name: mine
pairs: [{{name: birds, id: {known}, far: {{noise: {{noise: {{size: 8, count: 10}}}}}}}}]
networks: [small-cnn]
methods: [cross-entropy]
scorers: [msp]
""")
    return file


# ---------------------------------------------------------------- status


def test_status_of_a_pair_says_what_lacks_where_it_looked_and_what_gets_it(tmp_path: Path) -> None:
    result = call("status", "osr-cifar+10")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "missing  cifar10: train, val, test"
    assert str(tmp_path / "data" / "cifar10") in lines[1]
    assert lines[1].endswith("to get it: oodbench data download cifar10")
    assert lines[2] == "missing  cifar100: test"
    assert lines[4].startswith("here     noise")


def test_status_counts_what_is_here(tmp_path: Path) -> None:
    result = call("status", "digits")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    sizes = {s: len(registry.build("dataset", "digits")[s]) for s in ("train", "val", "test")}
    assert f"here     digits: train {sizes['train']:,}, val {sizes['val']:,}, test {sizes['test']:,}" in lines
    assert "pair:digits" in result.stderr
    pair = call("status", "pair:digits").output
    assert "digits(classes=[0,1,6,7]): test 178" in pair
    write_folder(tmp_path / "birds")
    result = call("status", write_suite(tmp_path))
    assert result.exit_code == 0
    assert "folder(root=birds): train, val, test" in result.output  # not read, so not counted


def test_status_of_everything_names_every_set_and_exits_0() -> None:
    result = call("status")
    assert result.exit_code == 0
    for name in ("cifar10", "imagenet", "isun", "digits", "ssb-hard", "places365"):
        assert f" {name}: test" in result.output, name


def test_status_of_a_broken_set_is_not_missing(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03cut")
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\0")
    result = call("status", "mnist")
    assert result.exit_code == 1
    assert "broken   mnist" in result.output
    assert "is cut short" in result.output


def test_outliers_alone_are_not_a_lack() -> None:
    @registry.pair("with-outliers", source="test")
    def pair() -> Pair:
        """A pair whose outliers are not here."""
        return Pair("digits", far={"noise": "noise"}, outliers="cifar100")

    result = call("status", "with-outliers")
    assert result.exit_code == 0
    assert "only methods that train with outliers need those" in result.output


def test_an_unknown_name_suggests_one() -> None:
    assert "did you mean 'cifar100'" in problem(call("status", "cifar-100"))
    assert "is no pair or suite" in problem(call("audit", "digitz"))


def test_a_suite_by_its_name(tmp_path: Path) -> None:
    result = call("status", "openood/cifar10")
    assert result.exit_code == 1
    assert "missing  openood(benchmark=cifar10, name=tin)" in result.output
    assert call("status", "suite:digits").output == call("status", ROOT / "suites" / "digits.yaml").output
    assert "suite:digits" in call("status", "digits").stderr
    assert "did you mean 'ssb/aircraft'" in problem(call("status", "ssb/aircrafts"))
    assert "did you mean 'ssb/aircraft'" in problem(call("audit", "ssb/aircrafts"))


def test_data_root_and_offline_are_for_the_command(tmp_path: Path) -> None:
    result = call("status", "cub", "--data-root", tmp_path / "elsewhere")
    assert str(tmp_path / "elsewhere" / "cub") in result.output


# ---------------------------------------------------------------- download


@pytest.fixture
def lsun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An archive of LSUN (resize) on a server of this test; what was asked for."""
    made = tmp_path / "made" / "LSUN_resize" / "LSUN_resize"
    made.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(made / "0.png")
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / "LSUN_resize.tar.gz", "w:gz") as t:
        t.add(made.parent, "LSUN_resize")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(served))
    ) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{httpd.server_address[1]}/LSUN_resize.tar.gz"
        md5 = hashlib.md5((served / "LSUN_resize.tar.gz").read_bytes()).hexdigest()
        monkeypatch.setitem(downloads, "lsun-r", unpacked(url, md5))
        yield asked
        httpd.shutdown()


def test_download_gets_what_lacks_and_no_more(tmp_path: Path, lsun: list[str]) -> None:
    result = call("download", "lsun-r")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "everything is here"
    assert (tmp_path / "data" / "lsun-r" / "LSUN_resize" / "LSUN_resize" / "0.png").is_file()
    call("download", "lsun-r")
    assert lsun == ["/LSUN_resize.tar.gz"]
    assert call("status", "lsun-r").exit_code == 0


def test_offline_asks_nobody(lsun: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_OFFLINE", "0")
    assert "lsun-r: offline" in problem(call("download", "lsun-r", "--offline"))
    assert lsun == []


def test_what_cannot_be_downloaded_says_where_to_get_it(lsun: list[str]) -> None:
    text = problem(call("download", "ssb-hard", "lsun-r"))
    assert "OpenOOD's download" in text
    assert len(text.splitlines()) == 1
    assert lsun  # the other one was got


def test_a_failed_download_leaves_nothing_that_looks_whole(
    tmp_path: Path, lsun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(downloads, "lsun-r", unpacked("http://127.0.0.1:9/LSUN_resize.tar.gz", "0" * 32))
    assert "run again to go on" in problem(call("download", "lsun-r"))
    assert call("status", "lsun-r").exit_code == 1


# ---------------------------------------------------------------- verify


def test_verify_counts_records_and_refuses_a_change(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data" / "birds")
    suite = write_suite(tmp_path, "{folder: {root: data/birds}}")
    result = call("verify", suite)
    assert result.exit_code == 0, result.exception
    assert "test: 12 images, 3x8x8, 2 classes of 6 to 6" in result.output
    lock = tmp_path / "data" / LOCK  # beside the data; what is generated is recorded in the cache
    entries = json.loads(lock.read_text())
    assert {e["count"] for e in entries.values()} >= {12, 10, 2}
    assert "as recorded" in call("verify", suite).output
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(root / "test" / "owl" / "0.png")
    text = problem(call("verify", suite))
    before = next(e["sha256"] for e in entries.values() if e["set"].endswith("test") and e["count"] == 12)
    now = registry.build("dataset", {"folder": {"root": str(root)}})["test"].digest
    assert before in text
    assert now in text
    assert "the content has changed: 12 images" in text
    assert problem(call("verify", suite)) == text  # a refused change is not recorded
    assert call("verify", suite, "--accept").exit_code == 0
    assert call("verify", suite).exit_code == 0


def test_the_lock_file_lies_beside_the_data(tmp_path: Path) -> None:
    tree = tmp_path / "data" / "LSUN_resize"
    tree.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tree / "0.png")
    assert call("verify", "lsun-r").exit_code == 0
    assert (tmp_path / "data" / LOCK).is_file()
    (tmp_path / "data" / LOCK).write_text("not json")
    assert "is not a lock file" in problem(call("verify", "lsun-r"))


def test_every_split_of_a_users_folder_is_locked_beside_it(tmp_path: Path) -> None:
    """Train and validation are drawn from one reading, which is at the place of both."""
    write_folder(tmp_path / "data" / "birds")
    suite = tmp_path / "birds.yaml"
    suite.write_text(
        "name: birds\npairs: [{name: birds, id: {folder: {root: data/birds}}, far: {noise: noise}}]\n"
        "networks: [mlp]\nmethods: [cross-entropy]\nscorers: [msp]\n"
    )
    assert call("verify", str(suite)).exit_code == 0
    entries = json.loads((tmp_path / "data" / LOCK).read_text()).values()
    assert sorted(e["set"].rpartition(" ")[2] for e in entries) == ["test", "train", "val"]


def test_verify_reads_every_byte_whatever_times_say(tmp_path: Path) -> None:
    """A file of the same size and time with other content: the index trusts it, verify does not."""
    import os

    tree = tmp_path / "data" / "LSUN_resize"
    tree.mkdir(parents=True)
    for name, value in (("0.bmp", 0), ("other.bmp", 200)):
        Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(tree / name)
    other = (tree / "other.bmp").read_bytes()
    (tree / "other.bmp").unlink()
    assert call("verify", "lsun-r").exit_code == 0
    stat = (tree / "0.bmp").stat()
    (tree / "0.bmp").write_bytes(other)
    os.utime(tree / "0.bmp", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "the content has changed" in problem(call("verify", "lsun-r"))


def test_verify_names_damaged_images_and_empty_classes(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "birds")
    file = root / "test" / "owl" / "3.png"
    file.write_bytes(file.read_bytes()[:50])
    text = problem(call("verify", write_suite(tmp_path)))
    assert f"{file}: cannot be decoded as an image" in text
    assert len(text.splitlines()) == 1
    assert not [
        e
        for e in json.loads((tmp_path / "cache" / LOCK).read_text()).values()
        if "test" in e["set"] and "birds" in e["set"]
    ]


def test_verify_names_lists_that_are_not_openoods(tmp_path: Path) -> None:
    file = tmp_path / "data" / "benchmark_imglist" / "cifar10" / "val_tin.txt"
    file.parent.mkdir(parents=True)
    file.write_text("tin/val/images/a.JPEG -1\n")
    (tmp_path / "data" / "images_classic" / "tin" / "val" / "images").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(
        tmp_path / "data" / "images_classic" / "tin" / "val" / "images" / "a.JPEG"
    )
    need = Need(
        "OOD validation",
        registry.resolve("dataset", {"openood": {"benchmark": "cifar10", "name": "tin"}}),
        "val",
    )
    with pytest.warns(UserWarning, match="is not OpenOOD v1.5's list"):
        (verdict,) = verify([need])
    assert "(1000 lines, sha256 39e22c5c6c2d95f9...; here" in verdict.faults[0]


# ---------------------------------------------------------------- audit


def test_audit_of_a_pair_writes_every_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test, ood = pictures(60, 0), pictures(20, 1), pictures(20, 2)
    test[4], ood[5] = train[9], test[6]

    @registry.dataset("audit-known", source="test")
    def known() -> Dataset:
        """A set."""
        return Dataset({"train": lambda: unlabelled(train), "test": lambda: unlabelled(test)})

    @registry.dataset("audit-ood", source="test")
    def unknown() -> Dataset:
        """Another."""
        return Dataset({"test": lambda: unlabelled(ood)})

    @registry.pair("audit-pair", source="test")
    def pair() -> Pair:
        """A pair."""
        return Pair("audit-known", near={"other": "audit-ood", "gone": "cifar10"})

    result = call("audit", "audit-pair", "--out", tmp_path / "twins.csv")
    assert result.exit_code == 0, result.exception
    rows = list(csv.DictReader((tmp_path / "twins.csv").open()))
    found = [(r["set_a"], r["image_a"], r["set_b"], r["image_b"], r["exact"]) for r in rows]
    assert found == [("train", "9", "test", "4", "True"), ("test", "6", "other", "5", "True")]
    assert "train and test share 1 images exactly and 0 nearly" in result.output
    assert "skipped gone: data set 'cifar10' is not here" in result.output + getattr(result, "stderr", "")
    listed = call("audit", "audit-pair").output
    assert "exact  test: 6  other: 5" in listed


def test_audit_of_arrays_and_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    assert "arrays: the pair is arrays alone, without images to compare" in problem(call("audit", "arrays"))
    (tmp_path / "twins.csv").mkdir()
    assert f"{tmp_path / 'twins.csv'}: cannot be written" in problem(
        call("audit", "digits", "--out", tmp_path / "twins.csv")
    )


def test_an_audit_writes_no_formula(tmp_path: Path) -> None:
    """The name of a file is what somebody else has chosen, and a spreadsheet opens the table."""
    write_folder(tmp_path / "birds")
    twin = tmp_path / "birds/test/auk/0.png"
    (tmp_path / "ood").mkdir()
    (tmp_path / "ood" / "=1+1.png").write_bytes(twin.read_bytes())
    suite = write_suite(tmp_path)
    suite.write_text(
        suite.read_text().replace("far:", "near: {other: {folder: {root: ood, split: none}}}, far:")
    )
    assert call("audit", suite, "--out", tmp_path / "twins.csv").exit_code == 0
    (row,) = csv.DictReader((tmp_path / "twins.csv").open())
    assert (row["image_a"], row["image_b"], row["exact"]) == ("auk/0.png", "'=1+1.png", "True")


def test_three_processes_download_one_set(tmp_path: Path, lsun: list[str]) -> None:
    import os

    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            try:
                os._exit(call("download", "lsun-r").exit_code)
            finally:
                os._exit(9)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children] == [0, 0, 0]
    assert lsun == ["/LSUN_resize.tar.gz"]
    assert [f.name for f in (tmp_path / "data").iterdir()] == ["lsun-r"]
