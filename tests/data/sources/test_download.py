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
        self.end_headers()
        end = len(CONTENT)
        if self.cut_at and len(self.asked) == self.cut_in:
            end, type(self).cut_at = type(self).cut_at, 0
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Server.cut_at, _Server.cut_in, _Server.ranges, _Server.asked = 0, 1, True, []
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
