"""Files by URL, on every kind of file system that is at hand: written whole, and one line for whatever goes
wrong."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.runs import remote_files
from oodbench.runs.remote_files import RemoteFiles, Unreachable, is_url
from tests.runs.s3_server import S3


def test_files_come_back_as_they_were_put(url: str, tmp_path: Path) -> None:
    files = RemoteFiles(url)
    (tmp_path / "one").write_bytes(bytes(range(256)) * 5)
    files.put("a/b/one", tmp_path / "one")
    files.write("a/two", b"2")
    files.write("a/two", b"22")
    assert files.read("a/two") == b"22"
    files.get("a/b/one", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "one").read_bytes()
    assert files.names("a") == {"a/b/one", "a/two"} == files.names("")
    assert files.names("c") == set()
    assert files.names("a/b") == {"a/b/one"}
    assert (files.there("a/two"), files.there("a/three")) == (True, False)
    assert RemoteFiles(url + "/").names("a") == files.names("a"), "the same place"
    files.remove("a/two")
    files.remove("a/two")
    assert not files.there("a/two")


def test_the_end_of_a_file_alone(url: str, tmp_path: Path) -> None:
    files = RemoteFiles(url)
    files.write("a", bytes(range(200)))
    for size in (10, 200, 1000):
        files.get_end("a", tmp_path / "end", size)
        found = (tmp_path / "end").read_bytes()
        assert len(found) == 200
        assert found[-10:] == bytes(range(190, 200))
        assert found[:190] == (bytes(190) if size == 10 else bytes(range(190)))


def test_what_is_not_there_is_told_from_what_cannot_be_had(url: str, tmp_path: Path) -> None:
    files = RemoteFiles(url)
    with pytest.raises(FileNotFoundError):
        files.read("a")
    with pytest.raises(FileNotFoundError):
        files.get("a/b", tmp_path / "back")
    with pytest.raises(FileNotFoundError):
        files.get_end("a", tmp_path / "back", 10)


def test_what_cannot_be_put_leaves_what_was_there(tmp_path: Path) -> None:
    files = RemoteFiles(f"file://{tmp_path}/far")
    files.write("a", b"whole")
    with pytest.raises(Unreachable, match="cannot be written"):
        files.put("a", tmp_path / "nowhere")
    assert files.read("a") == b"whole"
    assert os.listdir(tmp_path / "far") == ["a"], "no draft is left"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("s3://bucket/x", True), ("gs://b", True), ("file:///tmp/x", True), ("memory://", True),
        ("s4://bucket/x", True), ("S3://bucket/x", True), ("simplecache::s3://b/x", True), ("nope::x", True),
        ("runs/.store", False), ("/abs/store", False), ("s3", False), ("my:store", False), ("", False),
        ("data//x", False), ("C:/Users/x", False), ("./s3:/x", False),
    ],
)  # fmt: skip
def test_what_is_a_url(text: str, is_one: bool) -> None:
    assert is_url(text) is is_one


@pytest.mark.parametrize("text", ["s3:/bucket/x", "s3:bucket/x", "s3//bucket/x", "gs:/b/x"])
def test_almost_a_url_is_no_folder(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"is a path; write (s3://bucket|gs://b)/x for a URL"):
        is_url(text)
    (tmp_path / text.split("/")[0]).mkdir()
    assert not is_url(text), "unless it is one"


def _line(error: pytest.ExceptionInfo[UserError], url: str) -> str:
    said = str(error.value)
    assert said.startswith("store ")
    assert "\n" not in said
    assert len(said) < 700
    assert said.isprintable()
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s4://bucket/x", "unknown protocol 's4'; did you mean 's3'? allowed: abfs, file"),
        ("S3://bucket/x", "did you mean 's3'?"),
        ("nope::x", "unknown protocol 'nope'"),
        ("s3://", "should name a bucket, such as s3://bucket/study"),
        ("s3:///x", "should name a bucket"),
        ("http://127.0.0.1:1/x", "cannot be written"),
        ("github://a/b", "cannot be opened"),
        ("s3://Bad_B!!/x", "Invalid bucket name"),
        ("s3://bucket/\x1b[31mred", "should be a URL of printable text"),
        ("s3://" + "x" * 10_000, "should be a URL of printable text"),
    ],
)  # fmt: skip
def test_a_url_that_is_wrong_is_one_line(url: str, says: str, server: S3) -> None:
    with pytest.raises(UserError) as error:
        RemoteFiles(url).write("a", b"")
    assert says in _line(error, url)


def test_a_bucket_that_is_not_there_is_one_line(server: S3) -> None:
    with pytest.raises(Unreachable) as error:
        RemoteFiles("s3://bukket/x").write("a", b"")
    assert "store s3://bukket/x: cannot be written (The specified bucket does not exist)" in _line(error, "")


@pytest.mark.parametrize(
    ("url", "module", "install"),
    [("s3://b/x", "s3fs", "pip install 'oodbench[s3]'"), ("gs://b/x", "gcsfs", "pip install gcsfs")],
)
def test_a_package_that_is_not_installed_is_named(
    url: str, module: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, url.partition(":")[0], raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as error:
        RemoteFiles(url)
    assert install in _line(error, url)


def test_credentials_that_lack_are_one_line(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.make("locked")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Unreachable) as error:
        RemoteFiles(url).write("a", b"")
    assert "Unable to locate credentials" in _line(error, url)


def test_a_password_in_a_url_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as error:
        RemoteFiles("ftp://anna:secret@127.0.0.1:1/x").write("a", b"")
    assert "secret" not in _line(error, "")


def test_an_address_where_nothing_listens_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    for name, value in (("ENDPOINT_URL", "http://127.0.0.1:9"), ("ACCESS_KEY_ID", "a"),
                        ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(Unreachable) as error:
        RemoteFiles("s3://bucket/x").write("a", b"")
    assert "Could not connect to the endpoint" in _line(error, "")


def test_an_address_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in (("ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}"),
                            ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"),
                            ("DEFAULT_REGION", "us-east-1")):  # fmt: skip
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setattr(remote_files, "PATIENCE", 0.2)
        files, since = RemoteFiles("s3://bucket/x"), time.monotonic()
        with pytest.raises(UserError, match="there has been no answer for") as error:
            files.within(lambda: files.read("a"))
        _line(error, "")
        assert time.monotonic() - since < 30


def test_a_server_under_load_is_asked_again(server: S3) -> None:
    files = RemoteFiles(server.make("busy"))
    server.fail(2)
    files.write("a", b"1")
    assert files.read("a") == b"1"
    server.fail(10_000)
    try:
        with pytest.raises(Unreachable, match="Service Unavailable"):
            files.write("a", b"2")
    finally:
        server.fail(0)
    assert files.read("a") == b"1"


def test_a_forked_process_asks_by_itself(url: str) -> None:
    files = RemoteFiles(url)
    files.write("a", b"1")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, files.read("a"))
        finally:
            os._exit(0)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read, 10) == b"1"
    os.close(read)
