"""Downloads that go on and are whole or absent."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.data.sources import download
from oodbench.data.sources.download import fetch, staged, through_fetch, watcher

CONTENT = bytes(range(256)) * 4096  # one MiB


MD5 = hashlib.md5(CONTENT).hexdigest()


class _Server(http.server.BaseHTTPRequestHandler):
    cut_at = 0  # bytes after which the connection breaks, once,
    cut_in = 1  # in the answer of this number
    ranges = True
    more: dict[str, str] = {}  # headers, `{start}` in them being that of the answer
    asked: list[str] = []

    def do_GET(self) -> None:
        start = 0
        wanted = self.headers.get("Range", "")
        type(self).asked.append(wanted)
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        for name, value in self.more.items():
            if start or name != "Content-Range":
                self.send_header(name, value.format(start=start))
        self.end_headers()
        end = len(CONTENT)
        if self.cut_at and len(self.asked) == self.cut_in:
            end, type(self).cut_at = type(self).cut_at, 0
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Server.cut_at, _Server.cut_in, _Server.ranges, _Server.asked, _Server.more = 0, 1, True, [], {}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}/set.tar"
        httpd.shutdown()


def test_an_interrupted_download_goes_on_and_takes_its_name_at_the_end(tmp_path: Path, server: str) -> None:
    target = tmp_path / "set.tar"
    _Server.cut_at = 300_000
    with pytest.raises(UserError, match="run again to go on"):
        fetch(server, target, md5=MD5)
    assert not target.exists()
    part = tmp_path / "set.tar.part"
    assert part.stat().st_size == 300_000
    told: list[tuple[str, int, int]] = []
    token = watcher.set(lambda *progress: told.append(progress))
    try:
        assert fetch(server, target, md5=MD5).read_bytes() == CONTENT
    finally:
        watcher.reset(token)
    assert told[0][1] > 300_000, "what was there already counts"
    assert told[-1] == ("set.tar", len(CONTENT), len(CONTENT))
    assert _Server.asked == ["", "bytes=300000-"]
    assert not part.exists()
    fetch(server, target, md5=MD5)
    assert len(_Server.asked) == 2  # what is right already is not asked for again


def test_a_server_without_ranges_starts_over(tmp_path: Path, server: str) -> None:
    _Server.ranges = False
    (tmp_path / "set.tar.part").write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path / "set.tar", md5=MD5).read_bytes() == CONTENT


def test_a_damaged_beginning_is_thrown_away_and_fetched_again(tmp_path: Path, server: str) -> None:
    (tmp_path / "set.tar.part").write_bytes(b"x" * 1000)
    assert fetch(server, tmp_path / "set.tar", md5=MD5).read_bytes() == CONTENT
    assert _Server.asked == ["bytes=1000-", ""]


def test_a_wrong_file_is_refused_with_both_digests(tmp_path: Path, server: str) -> None:
    with pytest.raises(UserError, match=f"has md5 {MD5}, expected {'0' * 32}"):
        fetch(server, tmp_path / "set.tar", md5="0" * 32)
    assert list(tmp_path.glob("set*")) == []


def test_a_complete_part_needs_no_more_bytes(tmp_path: Path, server: str) -> None:
    (tmp_path / "set.tar.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "set.tar", md5=MD5).read_bytes() == CONTENT
    assert _Server.asked == [f"bytes={len(CONTENT)}-"]


def test_offline_asks_nobody(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_OFFLINE", "1")
    with pytest.raises(UserError, match="offline"):
        fetch(server, tmp_path / "set.tar", md5=MD5)
    assert _Server.asked == []


def test_a_stage_takes_the_name_only_when_all_went_well(tmp_path: Path) -> None:
    target = tmp_path / "set"

    def fails() -> None:
        with staged(target) as stage:
            (stage / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert not target.exists()
    with staged(target) as stage:
        assert (stage / "half").exists()  # gone on with
    assert (target / "half").exists()
    with pytest.raises(UserError, match="is there already"), staged(target):
        pass


def test_torchvision_downloads_go_through_fetch(tmp_path: Path, server: str) -> None:
    from torchvision.datasets.utils import download_url

    _Server.cut_at, _Server.cut_in = (
        300_000,
        2,
    )  # torchvision follows redirects with a request of its own first
    with pytest.raises(UserError, match="run again to go on"), through_fetch():
        download_url(server, str(tmp_path), "set.tar", MD5)
    assert not (tmp_path / "set.tar").exists()
    with through_fetch():
        download_url(server, str(tmp_path), "set.tar", MD5)
    assert (tmp_path / "set.tar").read_bytes() == CONTENT
    assert _Server.asked[-1] == "bytes=300000-"
    assert download.downloads  # the components have entered theirs


def test_without_a_hash_the_length_decides(tmp_path: Path, server: str) -> None:
    target = tmp_path / "set.tar"
    _Server.cut_at = 300_000
    with pytest.raises(UserError, match="connection lost after 300000 of 1048576 bytes"):
        fetch(server, target)
    assert not target.exists()
    assert fetch(server, target).read_bytes() == CONTENT
    assert _Server.asked == ["", "bytes=300000-"]
    assert [f.name for f in tmp_path.iterdir()] == ["set.tar"]  # no lock, no note beside it


@pytest.mark.parametrize(
    ("headers", "resumed"),
    [
        ({"Content-Range": "bytes {start}-1048575/1048576"}, True),
        ({"Content-Range": "bytes 0-1048575/1048576"}, False),
        ({"Content-Range": "bytes 299999-1048575/1048576"}, False),
        ({"Content-Range": "bytes {start}-1048575/2000000"}, False),
        ({"Content-Range": "bytes {start}-1048575/*"}, False),
        ({"Content-Range": "nonsense"}, False),
        ({"ETag": '"another file"'}, False),
    ],
)
def test_the_rest_of_another_file_is_no_rest(
    tmp_path: Path, server: str, headers: dict[str, str], resumed: bool
) -> None:
    _Server.cut_at, _Server.more = 300_000, {"ETag": '"one"'}
    with pytest.raises(UserError, match="connection lost"):
        fetch(server, tmp_path / "set.tar")
    _Server.more = {"ETag": '"one"'} | headers
    assert fetch(server, tmp_path / "set.tar").read_bytes() == CONTENT
    assert _Server.asked == ["", "bytes=300000-"] + ([] if resumed else [""])


def test_a_part_that_nobody_knows_is_not_gone_on_with_without_a_hash(tmp_path: Path, server: str) -> None:
    (tmp_path / "set.tar.part").write_bytes(b"x" * 1000)
    assert fetch(server, tmp_path / "set.tar").read_bytes() == CONTENT
    (tmp_path / "set.tar").unlink()
    (tmp_path / "set.tar.part").write_bytes(CONTENT + b"more")
    assert fetch(server, tmp_path / "set.tar").read_bytes() == CONTENT  # the server says 416


def test_of_several_processes_one_downloads(tmp_path: Path, server: str) -> None:
    import os

    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            try:
                fetch(server, tmp_path / "set.tar", md5=MD5)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children] == [0, 0, 0]
    assert _Server.asked == [""]
    assert (tmp_path / "set.tar").read_bytes() == CONTENT


def test_archives_of_torchvision_go_through_unpack(tmp_path: Path) -> None:
    import io
    import tarfile

    from torchvision.datasets.utils import extract_archive

    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as t:
        info = tarfile.TarInfo("../evil")
        info.size = 1
        t.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(UserError, match="lies outside the folder"), through_fetch():
        extract_archive(str(tmp_path / "evil.tar.gz"), str(tmp_path / "in"))
    assert not list(tmp_path.rglob("evil"))


def test_a_stage_is_for_one_process_and_no_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / ".set.incomplete").symlink_to(elsewhere)
    with pytest.raises(UserError, match="is a link, where a folder belongs"), staged(tmp_path / "set"):
        pass
    (tmp_path / ".set.incomplete").unlink()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"), staged(tmp_path / "file" / "set"):
        pass
