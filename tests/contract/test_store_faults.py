"""What stores do when disk, network or another process fails them."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.s3 import S3Store
from seedzoo.errors import Conflict, LocalFailure, StoreError

ADD = """
import sys
from contextlib import suppress
from seedzoo.catalog.local import LocalStore
from seedzoo.errors import Conflict
store = LocalStore(sys.argv[1])
for _ in range(25):
    while True:
        data, etag = store.get_with_etag("counter")
        with suppress(Conflict):
            store.put("counter", str(int(data) + 1).encode(), if_match=etag)
            break
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_processes_share_a_directory_without_losing_updates(tmp_path: Path) -> None:
    LocalStore(tmp_path).put("counter", b"0")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [subprocess.Popen([sys.executable, "-c", ADD, str(tmp_path)], env=environment) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert LocalStore(tmp_path).get("counter") == b"75"


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    store = LocalStore(tmp_path)

    def create(number: int) -> bool:
        try:
            store.put("k", str(number).encode(), if_absent=True)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1


@pytest.mark.parametrize(("number", "reason"), [(errno.ENOSPC, "DISK_FULL"), (errno.EACCES, "PERMISSION_DENIED")])
def test_a_failing_disk_leaves_the_old_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    store = LocalStore(tmp_path)
    store.put("a/k", b"old")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LocalFailure) as caught:
        store.put("a/k", b"new")
    assert caught.value.reason == reason
    assert caught.value.hint
    assert store.get("a/k") == b"old"
    assert [info.key for info in store.list("")] == ["a/k"]
    assert [*(tmp_path / ".seedzoo" / "tmp").iterdir()] == []


def test_leftovers_of_a_crash_are_invisible_and_swept_after_a_day(tmp_path: Path) -> None:
    LocalStore(tmp_path).put("k", b"x")
    temp = tmp_path / ".seedzoo" / "tmp"
    (temp / "fresh").write_bytes(b"half")
    (temp / "stale").write_bytes(b"half")
    os.utime(temp / "stale", (0, 0))
    (tmp_path / "hollow" / "folder").mkdir(parents=True)
    store = LocalStore(tmp_path)
    assert [info.key for info in store.list("")] == ["k"]
    assert [*store.list_folders("")] == []
    store.put("hollow/folder", b"x", if_absent=True)
    assert [left.name for left in temp.iterdir()] == ["fresh"]


def test_folders_that_come_and_go_disturb_no_writer(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    def churn(number: int) -> None:
        for _ in range(40):
            store.put(f"a/b/c/{number}", b"x", if_absent=True)
            store.delete(f"a/b/c/{number}")

    with ThreadPoolExecutor(4) as pool:
        [*pool.map(churn, range(4))]
    assert [*store.list_folders("")] == []


def test_a_dead_endpoint_fails_soon_and_clearly() -> None:
    started = time.monotonic()
    endpoint = f"http://127.0.0.1:{free_port()}"
    with (
        S3Store("zoo", endpoint_url=endpoint, access_key="a", secret_key="b") as store,
        pytest.raises(StoreError) as caught,
    ):
        store.put("k", b"x")
    assert caught.value.reason == "STORE_UNREACHABLE"
    assert "127.0.0.1" in caught.value.message
    assert time.monotonic() - started < 15


class _Breaking(BaseHTTPRequestHandler):
    """Serves one object, but breaks off after four bytes of every answer."""

    content = b"0123456789"
    etag = '"one"'
    ranges: list[tuple[str | None, str | None]]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.ranges.append((wanted, self.headers.get("If-Match")))
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        rest = self.content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", self.etag)
        self.end_headers()
        self.wfile.write(rest[:4])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def breaking() -> Iterator[ThreadingHTTPServer]:
    _Breaking.ranges = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Breaking)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_broken_read_is_resumed_on_the_same_version(breaking: ThreadingHTTPServer) -> None:
    endpoint = f"http://127.0.0.1:{breaking.server_port}"
    with S3Store("zoo", endpoint_url=endpoint, access_key="a", secret_key="b") as store:
        assert store.get("k") == b"0123456789"
        assert _Breaking.ranges == [(None, None), ("bytes=4-", '"one"'), ("bytes=8-", '"one"')]
        _Breaking.ranges.clear()
        assert store.get_range("k", 1, 9) == b"123456789"
        assert [ranged for ranged, _ in _Breaking.ranges] == ["bytes=1-9", "bytes=5-9", "bytes=9-9"]
