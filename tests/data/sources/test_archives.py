"""Archives are unpacked whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from tests.data.written import build, write_images


def test_an_archive_is_unpacked_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import functools
    import http.server
    import tarfile
    import threading

    from oodbench.data.sources.archives import unpacked

    (tmp_path / "served").mkdir()
    write_images(tmp_path / "made" / "LSUN_resize", ["LSUN_resize/a.png"])
    with tarfile.open(tmp_path / "served" / "set.tar.gz", "w:gz") as t:
        t.add(tmp_path / "made" / "LSUN_resize", "LSUN_resize")
    evil = tarfile.TarInfo("../evil")
    with tarfile.open(tmp_path / "served" / "evil.tar", "w") as t:
        t.addfile(evil)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{httpd.server_address[1]}/"
        md5 = {
            f: hashlib.md5((tmp_path / "served" / f).read_bytes()).hexdigest()
            for f in ("set.tar.gz", "evil.tar")
        }
        target = tmp_path / "data" / "lsun-r"
        with pytest.raises(UserError, match="expected 00"):
            unpacked(url + "set.tar.gz", "0" * 32)(target)
        assert not target.exists()
        unpacked(url + "set.tar.gz", md5["set.tar.gz"])(target)
        with pytest.raises(UserError, match="cannot be unpacked"):
            unpacked(url + "evil.tar", md5["evil.tar"])(tmp_path / "data" / "evil")
        httpd.shutdown()
    assert not (tmp_path / "data" / "evil").exists()
    assert not list(target.glob("*.gz"))
    assert list(build("lsun-r")["test"].ids) == ["a.png"]


def test_of_several_processes_one_unpacks(tmp_path: Path) -> None:
    import functools
    import http.server
    import os
    import tarfile
    import threading

    from oodbench.data.sources.archives import unpacked

    write_images(tmp_path / "made", [f"{i}.png" for i in range(50)])
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served/set.tar", "w") as t:
        t.add(tmp_path / "made", "set")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        md5 = hashlib.md5((tmp_path / "served/set.tar").read_bytes()).hexdigest()
        get = unpacked(f"http://127.0.0.1:{httpd.server_address[1]}/set.tar", md5)
        reader, writer = os.pipe()
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                try:
                    os.read(reader, 1)  # all at once
                    get(tmp_path / "data/set")
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(child)
        os.write(writer, b"go!")
        codes = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]
        httpd.shutdown()
    # One that comes when all is done is told that it is there.
    assert codes.count(0) >= 1
    assert asked == ["/set.tar"]
    assert len(list((tmp_path / "data/set/set").iterdir())) == 50
    assert [f.name for f in (tmp_path / "data").iterdir()] == ["set"]
