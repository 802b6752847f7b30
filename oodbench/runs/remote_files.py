"""Files of an object store, or of any other place that the library fsspec can reach by a URL: each is written
whole, and whatever goes wrong is one line that names the URL."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from oodbench.core.errors import UserError, meant, one_line
from oodbench.core.files import replacing
from oodbench.runs.store import CannotKeep

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which a place that has not answered when it is opened is given up."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*://|[a-z0-9]+::")
_ALMOST = re.compile(r"([a-z][a-z0-9]+)(?::/?|//)([^/].*)")
_SECRET = re.compile(r"//[^/@]*@")
_BUCKETS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
_COMMON = ("abfs", "file", "ftp", "gs", "hdfs", "memory", "s3", "sftp", "smb", "webdav")
_EXTRA = {"s3": "'oodbench[s3]'", "s3a": "'oodbench[s3]'", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs",
          "abfss": "adlfs", "az": "adlfs", "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol",
          "hdfs": "pyarrow", "webdav": "webdav4"}  # fmt: skip
"""What to install for a protocol; an extra of ours says which versions go with the rest."""


def is_url(place: str | Path) -> bool:
    """Whether a place is a URL and not a path. UserError for one that is almost a URL, as ``s3:/bucket``,
    unless there is such a folder.

    Example:
        >>> is_url("s3://bucket/study"), is_url("runs/.store")
        (True, False)
    """
    text = str(place)
    if _URL.match(text):
        return True
    found = _ALMOST.match(text)
    if found and found[1] in (*_COMMON, *_EXTRA) and not os.path.lexists(text.split("/")[0]):
        raise UserError(f"store {one_line(text)}: is a path; write {found[1]}://{found[2]} for a URL")
    return False


def _known() -> list[str]:
    from fsspec.registry import available_protocols

    return list(available_protocols())


class Unreachable(CannotKeep):
    """An object store cannot be read or written. More work would be lost as well, so the run ends."""

    def __init__(self, message: str) -> None:
        UserError.__init__(self, message)


class RemoteFiles:
    """The files below a URL. Methods raise Unreachable, but FileNotFoundError where a file to read is not
    there."""

    def __init__(self, url: str) -> None:
        if not url.isprintable() or len(url) > 1000:
            raise UserError(
                f"store {one_line(url)}: should be a URL of printable text, such as s3://bucket/x"
            )
        self.url = _SECRET.sub("//", url)
        """As messages show it."""
        self._given, self._pid = url, 0
        self._connect()

    def _connect(self) -> None:
        """Make the file system anew: what is inherited by a forked process has none of its threads."""
        protocol = self._given.partition("://")[0].partition("::")[0]
        try:
            from fsspec.core import url_to_fs

            self._fs, self._base = url_to_fs(
                self._given, skip_instance_cache=True, use_listings_cache=False, **_options(protocol)
            )
        except ImportError as error:
            install = _EXTRA.get(protocol)
            how = f"pip install {install}" if install else one_line(error, 200)
            raise UserError(
                f"store {self.url}: needs a package for {protocol}:// that is not installed; {how}"
            ) from None
        except ValueError as error:
            if protocol in _known():
                self._refuse("is no URL of a folder", error)
            raise UserError(
                f"store {self.url}: unknown protocol {protocol!r}{meant(protocol, _COMMON)}, or another one"
                " that fsspec knows"
            ) from None
        except Exception as error:
            self._refuse("cannot be opened", error)
        self._pid = os.getpid()
        if protocol in _BUCKETS and self._base[:1] in ("", "/"):
            raise UserError(f"store {self.url}: should name a bucket, such as {protocol}://bucket/study")

    @property
    def _live(self) -> Any:
        if self._pid != os.getpid():
            self._connect()
        return self._fs

    def read(self, name: str) -> bytes:
        """A small file."""
        with self._telling("cannot be read"):
            data: bytes = self._live.cat_file(self._path(name))
            return data

    def write(self, name: str, data: bytes) -> None:
        """A small file, in place of what is there."""
        with self._writing(), self._below(name) as path:
            self._live.pipe_file(path, data)

    def put(self, name: str, file: Path) -> None:
        """A copy of a file here, in place of what is there: object stores show none before it is whole, and
        on file systems it is written beside its place."""
        with self._writing(), self._below(name) as path:
            self._live.put_file(str(file), path)

    def get(self, name: str, file: Path) -> None:
        """A copy of a file there."""
        with self._telling("cannot be read"):
            self._live.get_file(self._path(name), str(file))

    def get_end(self, name: str, file: Path, size: int) -> None:
        """The last bytes of a file there, in a file of its length with nothing before them."""
        with self._telling("cannot be read"):
            path = self._path(name)
            length = int(self._live.info(path)["size"])
            start = max(0, length - size)
            with open(file, "wb") as there:
                there.truncate(length)
                there.seek(start)
                there.write(self._live.cat_file(path, start=start, end=length))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._writing(), contextlib.suppress(FileNotFoundError):
            self._live.rm_file(self._path(name))

    def there(self, name: str) -> bool:
        with self._telling("cannot be read"):
            return bool(self._live.exists(self._path(name)))

    def names(self, folder: str) -> set[str]:
        """The names of all files below a folder, at any depth; none where it is not there."""
        with self._telling("cannot be read"):
            try:
                found = self._live.find(self._path(folder))
            except FileNotFoundError:
                return set()
            return {str(path).lstrip("/")[len(self._base.strip("/")) :].lstrip("/") for path in found}

    def within(self, ask: Callable[[], T]) -> T:
        """What a first question answers; UserError where nothing comes in `PATIENCE` seconds."""
        answer: list[Any] = []

        def asked() -> None:
            try:
                answer.extend((ask(), None))
            except BaseException as error:
                answer.extend((None, error))

        thread = threading.Thread(target=asked, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        if not answer:
            raise Unreachable(f"store {self.url}: there has been no answer for {PATIENCE:.0f} seconds")
        if answer[1] is not None:
            raise answer[1]
        found: T = answer[0]
        return found

    # ------------------------------------------------------------

    def _path(self, name: str) -> str:
        return f"{self._base.rstrip('/')}/{name}"

    @contextlib.contextmanager
    def _below(self, name: str) -> Iterator[str]:
        """The path to write a file to. On this machine's own file system, which shows half of a file, it is
        that of a draft."""
        from fsspec.implementations.local import LocalFileSystem

        path = self._path(name)
        if isinstance(self._live, LocalFileSystem):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with replacing(Path(path)) as draft:
                yield str(draft)
        else:
            if self._given.partition("://")[0] not in _BUCKETS:  # which have no folders
                with contextlib.suppress(Exception):  # then writing says why
                    self._live.makedirs(path.rpartition("/")[0], exist_ok=True)
            yield path

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # each library has its own
            self._refuse("cannot be written", error)

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except (UserError, FileNotFoundError):
            raise
        except Exception as error:
            self._refuse(what, error)

    def _refuse(self, what: str, error: Exception) -> NoReturn:
        why = one_line(getattr(error, "strerror", None) or error, 200)
        raise Unreachable(
            f"store {self.url}: {what} ({why}); check the URL, the network and the credentials, or choose"
            " another place with --store"
        ) from None


def _options(protocol: str) -> dict[str, Any]:
    """What the libraries are told beyond what the environment tells them: to give up in the end."""
    if protocol in ("s3", "s3a"):
        retries = {"max_attempts": 4, "mode": "standard"}
        return {"config_kwargs": {"retries": retries, "connect_timeout": 10, "read_timeout": 60}}
    return {}
