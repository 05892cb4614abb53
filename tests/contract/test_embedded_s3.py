"""The embedded SeaweedFS: it keeps data through a crash, dies with its parent, and says why it cannot start."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import seedzoo_server.weed_process as weed_process
from seedzoo.catalog.open import open_store
from seedzoo.errors import Conflict, LocalFailure, MissingExtra, RequestError
from seedzoo_server.embedded_s3 import EmbeddedS3

ORPHAN = """
import os, sys
from seedzoo_server.embedded_s3 import EmbeddedS3
server = EmbeddedS3(sys.argv[1])
server.start()
print(server.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def sockets_of(ports: dict[str, int]) -> list[Path]:
    numbers = {str(port) for port in ports.values()}
    return [path for path in Path("/tmp").glob("seaweedfs-*.sock") if path.stem.split("-")[-1] in numbers]


def wait_for_end(pid: int, seconds: float) -> bool:
    """Whether the process, no child of ours, is gone in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


@pytest.mark.seaweed
def test_killed_and_restarted_it_has_everything(tmp_path: Path) -> None:
    content = {f"k/{n}": os.urandom(n * 1000) for n in range(40)}
    big = tmp_path / "big"
    big.write_bytes(os.urandom(20 << 20))
    server = EmbeddedS3(tmp_path / "zoo")
    # Started by a thread that ends at once: the server must outlive it.
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    pid = server.pid
    assert pid is not None
    keys = (server.access_key, server.secret_key, server.endpoint_url)
    with server.store() as store:
        etags = {key: store.put(key, data) for key, data in content.items()}
        store.put_file("big", big)
        store.delete("k/7")
        server.kill()
    assert server.pid is None
    assert not Path(f"/proc/{pid}").exists()

    with EmbeddedS3(tmp_path / "zoo") as again, again.store() as store:
        assert (again.access_key, again.secret_key, again.endpoint_url) == keys
        del content["k/7"]
        assert {key: store.get(key) for key in content} == content
        assert store.get("big") == big.read_bytes()
        with pytest.raises(Conflict):
            store.put("k/1", b"x", if_absent=True)
        store.put("k/1", b"x", if_match=etags["k/1"])
        assert [info.key for info in store.list("")] == sorted(["big", *content])
    for file in ("s3.json", "ports.json"):
        assert stat.S_IMODE((tmp_path / "zoo" / file).stat().st_mode) == 0o600


@pytest.mark.seaweed
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert wait_for_end(pid, 10)
    # The lock died with the parent as well, so the directory can be used again, here on other ports.
    old = json.loads((tmp_path / "ports.json").read_text())
    with socket.create_server(("127.0.0.1", old["filer"])), EmbeddedS3(tmp_path) as server, server.store() as store:
        assert json.loads((tmp_path / "ports.json").read_text()) != old
        assert sockets_of(old) == []
        store.put("k", b"x")
        with pytest.raises(LocalFailure, match="another embedded store"):
            EmbeddedS3(tmp_path).start()
        assert store.get("k") == b"x"


@pytest.mark.seaweed
def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    threads = threading.active_count()
    started = time.monotonic()
    with EmbeddedS3(tmp_path) as server:
        ports = json.loads((tmp_path / "ports.json").read_text())
        assert sockets_of(ports) != []
        assert server.secret_key not in repr(server) + server.log_file.read_text()
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 5
    assert stopping - started < 30
    assert threading.active_count() == threads
    assert sockets_of(ports) == []
    server.stop()


@pytest.mark.seaweed
def test_a_broken_start_shows_the_log(tmp_path: Path) -> None:
    (tmp_path / "data" / "filerldb2").mkdir(parents=True)
    (tmp_path / "data" / "filerldb2" / "00").write_text("not a directory")
    with pytest.raises(LocalFailure, match="filerldb2") as caught:
        EmbeddedS3(tmp_path, start_timeout_s=20).start()
    assert "weed.log" in caught.value.hint


def test_bad_bucket_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="bucket"):
        EmbeddedS3(tmp_path, bucket="A")


def test_missing_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weed_process, "_PACKAGE", "no-such-package-at-all")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra) as caught:
        EmbeddedS3(tmp_path / "zoo").start()
    assert "seedzoo[demo]" in caught.value.hint


def test_missing_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "boto3"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("seedzoo.catalog.s3")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtra) as caught:
        open_store("s3://bucket/prefix")
    assert "pip install" in caught.value.hint
