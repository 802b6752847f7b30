"""A real S3 server on this machine's loopback, in a process of its own, which notes what it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SERVER = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

log, fails = sys.argv[1:]
moto = DomainDispatcherApplication(create_backend_app)

def application(environ, start):
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    try:
        left = int(open(fails).read())
    except (OSError, ValueError):
        left = 0
    if left and method == "PUT":
        open(fails, "w").write(str(left - 1))
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start("503 Slow Down", [("Content-Length", "0")])
        return [b""]
    with open(log, "a") as file:
        file.write(f"{method} {path}\\n")
    return moto(environ, start)

server = make_server("127.0.0.1", 0, application, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


class S3:
    """The server: what it was asked, and what it is to answer."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._log, self._fails = url, folder / "asked", folder / "fails"

    def asked(self, method: str) -> list[str]:
        """The paths of all requests of a method so far."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{method} ")]

    def fail(self, times: int) -> None:
        """Answer so many PUTs with 503, as S3 does under load."""
        self._fails.write_text(str(times))

    def make(self, bucket: str) -> str:
        """A bucket, and the URL of a folder in it."""
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
        return f"s3://{bucket}/study"


@contextmanager
def serving(folder: Path) -> Iterator[S3]:
    """A server as long as inside, to which the environment leads."""
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(folder / "asked"), str(folder / "fails")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    changed = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(process.stdout.readline())}",
        "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "no_proxy": "127.0.0.1",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield S3(changed["AWS_ENDPOINT_URL"], folder)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        process.terminate()
        process.wait(timeout=10)
