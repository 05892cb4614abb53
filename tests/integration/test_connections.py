"""Connections that say nothing, or half of what they should: the server answers others, and bounds them."""

from __future__ import annotations

import logging
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
import trustme
from real_server import Caller, serving, small_store

from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import Unavailable
from seedzoo_client import Client, TLSConfig
from seedzoo_server import connections

MANY = 1000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
HELLO = b"\x16\x03\x01"
"""How a TLS record of a handshake begins."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    return small_store(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path]:
    """Settings of a TLS server, and its authority's file."""
    folder = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return {"tls_certificate": folder / "server.pem", "tls_key": folder / "server.pem"}, folder / "ca.pem"


@pytest.fixture
def files() -> Iterator[None]:
    """Room for both ends of so many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * MANY + 1000
    if hard not in (resource.RLIM_INFINITY,) and hard < needed:
        pytest.skip(f"this process may not have {needed} files open (ulimit -Hn is {hard})")
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def opened(port: int, count: int, *words: bytes) -> Iterator[list[socket.socket]]:
    """Connections, each of which has said one of these things and then nothing more."""
    with ExitStack() as stack:
        made = []
        for number in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            connection.sendall(words[number % len(words)])
            made.append(connection)
        yield made


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    return False


def gone(connections_: Sequence[socket.socket]) -> bool:
    """Whether the server has closed them all, soon."""
    return eventually(lambda: not any(map(is_open, connections_)))


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_a_thousand_idle_connections(store: MemoryStore, files: None) -> None:
    with serving(store) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        caller = Caller(channel)
        assert caller("GetFamily", name="mini").name == "mini"
        before = resident_bytes()
        with opened(port, MANY, b"", PREFACE + SETTINGS, b"P", PREFACE[:10], os.urandom(100)) as made:
            for _ in range(5):
                assert caller("GetFamily", name="mini").name == "mini"
            with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as another:
                assert Caller(another)("GetFamily", name="mini").name == "mini"
            # Both ends are in this process.
            assert resident_bytes() - before < 200 << 20
            # Those that spoke no HTTP/2 at all were closed; the others are what this test is about.
            assert sum(map(is_open, made)) >= MANY * 3 // 5
        assert caller("GetFamily", name="mini").name == "mini"


def test_half_open_handshakes(
    store: MemoryStore, authority: tuple[dict[str, Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_HANDSHAKE_MS", 3000)
    settings, ca = authority
    with (
        serving(store, **settings) as port,
        opened(port, 200, b"", HELLO[:1], HELLO, HELLO + b"\x02\0\1\0") as made,
        Client(f"https://127.0.0.1:{port}", tls=TLSConfig(ca=ca), timeout=20, offline=False) as client,
    ):
        assert [family.name for family in client.families()] == ["mini"]
        assert gone(made), "nobody may take longer over a handshake"
        assert [family.name for family in client.families()] == ["mini"]


def test_connections_without_a_call_are_closed_and_clients_come_back(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_IDLE_MS", 1000)
    with (
        serving(store) as port,
        opened(port, 20, PREFACE + SETTINGS) as made,
        Client(f"127.0.0.1:{port}", timeout=20, offline=False) as client,
    ):
        assert [family.name for family in client.families()] == ["mini"]
        assert gone(made)
        assert [family.name for family in client.families()] == ["mini"]


def test_no_more_connections_than_the_settings_say(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_HANDSHAKE_MS", 60_000)
    with serving(store, max_connections=50) as port:
        with opened(port, 50, b"P") as made:
            with (
                Client(f"127.0.0.1:{port}", timeout=5, offline=False) as client,
                pytest.raises(Unavailable) as caught,
            ):
                client.families()
            assert caught.value.reason == "CONNECTION_CLOSED"
            assert sum(map(is_open, made)) == 50, "those who came first are served on"

        def answered() -> bool:
            with Client(f"127.0.0.1:{port}", timeout=5, offline=False) as later:
                try:
                    return [family.name for family in later.families()] == ["mini"]
                except Unavailable:  # until the server has noticed that the others are gone
                    return False

        assert eventually(answered)


def test_open_files_are_raised_for_the_connections(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = [(1024, 3000)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert connections.room_for(500) == 500
    assert limits == [(1024, 3000)], "there is room already"
    assert connections.room_for(2000) == 2000
    assert limits[-1] == (2256, 3000)
    with caplog.at_level(logging.WARNING):
        assert connections.room_for(4096) == 2744
    assert limits[-1] == (3000, 3000)
    assert "2744 connections" in caplog.text
