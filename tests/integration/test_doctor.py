"""`zoo doctor` on a real server, on none, with wrong tokens, and on servers of something else."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from real_server import serving, small_store

from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import LocalFailure
from seedzoo_client.channel import parse_address
from seedzoo_client.cli import main
from seedzoo_client.probes import proxy_of
from seedzoo_client.server_checks import Visit
from seedzoo_client.settings import load_settings, setting_sources
from seedzoo_protos.v1 import catalog_pb2
from seedzoo_server.tokens import Tokens

Doctor = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    return small_store(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def port(store: MemoryStore) -> Iterator[int]:
    with serving(store) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(store: MemoryStore) -> Iterator[int]:
    with serving(store, auth="tokens") as found:
        yield found


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs the command with these settings in the environment; its exit code and checks by name."""
    for name in ("SERVER", "TOKEN", "OFFLINE", "CA", "CLIENT_CERTIFICATE", "CLIENT_KEY", "CONFIG"):
        monkeypatch.delenv(f"SEEDZOO_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SEEDZOO_HOME", str(tmp_path / "home"))

    def run(server: str | int, **settings: str) -> tuple[int, dict[str, dict[str, Any]]]:
        for name, value in settings.items():
            monkeypatch.setenv(f"SEEDZOO_{name.upper()}", value)
        address = f"127.0.0.1:{server}" if isinstance(server, int) else server
        code = main(["doctor", "--server", address, "--json"], standalone_mode=False)
        told = json.loads(capsys.readouterr().out)
        checks = {check["name"]: check for check in told["checks"]}
        assert told["ok"] == (code == 0) == all(check["outcome"] != "trouble" for check in checks.values())
        if "token" in settings:
            assert settings["token"] not in json.dumps(told)
        return code, checks

    return run


def troubles(checks: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    return [(name, check["reason"]) for name, check in checks.items() if check["outcome"] == "trouble"]


@contextmanager
def http_server() -> Iterator[int]:
    """A web server: it answers, and is no gRPC server."""

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextmanager
def other_server(*methods: str, date: str | None = None) -> Iterator[int]:
    """A gRPC server with some calls of ours, which answer nothing and add a date."""

    def answer(_request: bytes, context: grpc.ServicerContext) -> bytes:
        if date is not None:
            context.send_initial_metadata((("date", date),))
        return b""

    server = grpc.server(ThreadPoolExecutor(2))
    for method in methods:
        service, _, name = method.partition("/")
        handlers = {name: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"seedzoo.v1.{service}", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def test_all_is_well(port: int, doctor: Doctor, tmp_path: Path) -> None:
    code, checks = doctor(port)
    assert code == 0
    assert {name for name, check in checks.items() if check["outcome"] == "skipped"} == {"tls", "renewal", "clock"}
    assert checks["families"]["details"] == {"families": ["mini"], "browse_only": []}
    assert checks["token"]["details"] == {"wanted": False}
    assert 0 < checks["round trip"]["details"]["median_seconds"] < 5
    assert checks["settings"]["details"]["server"] == {"value": f"127.0.0.1:{port}", "from": "--server"}
    assert checks["settings"]["details"]["home"] == {"value": str(tmp_path / "home"), "from": "SEEDZOO_HOME"}
    assert checks["settings"]["details"]["token"] == {"value": "not set", "from": "default"}
    assert set(checks["health"]["details"].values()) == {"serving"}
    assert len(checks["health"]["details"]) == 4
    assert "server" in checks["versions"]["details"]["extras"]
    assert not (tmp_path / "home").exists()  # it only looked


def test_text_for_people(port: int, doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--server", f"127.0.0.1:{port}"], standalone_mode=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok       settings")
    assert lines[-1] == "all is well"


def test_a_dead_port(doctor: Doctor) -> None:
    with socket.socket() as bound:  # taken, and nobody listens
        bound.bind(("127.0.0.1", 0))
        code, checks = doctor(bound.getsockname()[1])
    assert (code, troubles(checks)) == (9, [("connection", "NOT_LISTENING")])
    assert checks["families"]["outcome"] == "skipped"
    assert checks["versions"]["outcome"] == "ok"


def test_a_name_that_nobody_has(doctor: Doctor) -> None:
    code, checks = doctor("nobody.invalid:7316")
    assert (code, troubles(checks)) == (9, [("name", "NAME_UNKNOWN")])


def test_an_address_that_is_none(doctor: Doctor) -> None:
    code, checks = doctor("ftp://x")
    assert (code, troubles(checks)) == (3, [("address", "REQUEST_INVALID")])


def test_settings_that_cannot_be_used(doctor: Doctor, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("nonsense = ")
    code, checks = doctor("localhost", config=str(config))
    assert (code, troubles(checks)[0]) == (3, ("settings", "REQUEST_INVALID"))
    assert checks["name"]["outcome"] == "skipped"


def test_a_web_server(doctor: Doctor) -> None:
    with http_server() as port:
        code, checks = doctor(port)
    assert (code, troubles(checks)) == (9, [("http2", "NOT_GRPC")])


def test_a_grpc_server_of_something_else(doctor: Doctor) -> None:
    with other_server() as port:
        code, checks = doctor(port)
    assert (code, troubles(checks)) == (9, [("api", "NOT_SEEDZOO")])
    assert checks["health"]["outcome"] == "skipped"


def test_an_older_server(doctor: Doctor) -> None:
    """It has all calls of the catalog, and lacks the rest."""
    reading = [
        f"CatalogService/{method.name}"
        for method in catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].methods
        if not method.server_streaming
    ]
    with other_server(*reading) as port:
        code, checks = doctor(port)
    assert (code, troubles(checks)) == (9, [("api", "SERVER_OLDER")])
    assert "SelectionService/NextItems" in checks["api"]["message"]


@pytest.mark.parametrize(("hours", "wrong"), [(0, False), (2, True), (-2, True)])
def test_the_clock(hours: int, wrong: bool) -> None:
    """Only the clock is looked at: the server lacks most calls, and a whole check would end there."""
    date = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    with other_server("CatalogService/ListFamilies", date=date) as port:
        address = f"127.0.0.1:{port}"
        visit = Visit(parse_address(address), load_settings(server=address), timeout=5)
        try:
            if wrong:
                with pytest.raises(LocalFailure, match="apart"):
                    visit.clock()
            else:
                assert abs(visit.clock()[1]["difference_seconds"]) < 30
        finally:
            visit.close()


def test_tokens(guarded: int, store: MemoryStore, doctor: Doctor) -> None:
    tokens = Tokens(store)
    code, checks = doctor(guarded)
    assert (code, troubles(checks)) == (12, [("token", "UNAUTHENTICATED")])
    assert checks["families"]["outcome"] == "skipped"
    code, checks = doctor(guarded, token=tokens.create("acme", "reader")[0])
    assert code == 0
    assert checks["token"]["details"] == {"wanted": True, "may": ["browse", "download"]}
    assert checks["settings"]["details"]["token"] == {"value": "set", "from": "SEEDZOO_TOKEN"}
    code, checks = doctor(guarded, token=tokens.create("acme", "selector")[0])
    assert (code, checks["token"]["details"]["may"]) == (0, ["browse", "download", "select"])
    wrong = tokens.create("acme", "reader")[0]
    wrong = wrong[:-1] + ("A" if wrong[-1] != "A" else "B")
    code, checks = doctor(guarded, token=wrong)
    assert (code, troubles(checks)[0][0]) == (12, "token")
    code, checks = doctor(guarded, token="two words")
    assert (code, troubles(checks)[0]) == (3, ("token", "REQUEST_INVALID"))


def test_tls(store: MemoryStore, doctor: Doctor, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    ca, chain, key = (tmp_path / name for name in ("ca.pem", "chain.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    with serving(store, tls_certificate=chain, tls_key=key) as port:
        code, checks = doctor(port)
        assert (code, troubles(checks)) == (9, [("http2", "TLS_WANTED")])
        code, checks = doctor(f"https://localhost:{port}")
        assert (code, troubles(checks)) == (9, [("tls", "CERTIFICATE_INVALID")])
        assert "SEEDZOO_CA" in checks["tls"]["hint"]
        code, checks = doctor(f"https://127.0.0.1:{port}", ca=str(ca))
        assert (code, troubles(checks)) == (9, [("tls", "CERTIFICATE_INVALID")])
        assert "mismatch" in checks["tls"]["message"]
        code, checks = doctor(f"localhost:{port}")
        assert code == 0, checks
        assert checks["tls"]["details"]["names"] == ["localhost"]
        assert checks["tls"]["details"]["days_left"] > 14
        code, checks = doctor(f"localhost:{port}", ca=str(tmp_path / "nowhere.pem"))
        assert (code, troubles(checks)) == (11, [("tls", "TLS_FILES")])


def test_a_certificate_that_ends_soon_stops_no_other_check(store: MemoryStore, doctor: Doctor, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=3))
    ca, chain, key = (tmp_path / name for name in ("ca.pem", "chain.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    with serving(store, tls_certificate=chain, tls_key=key) as port:
        code, checks = doctor(f"https://localhost:{port}", ca=str(ca))
    assert (code, troubles(checks)) == (9, [("renewal", "CERTIFICATE_EXPIRES")])
    assert {name for name, check in checks.items() if check["outcome"] == "ok"} >= {"http2", "health", "families"}


def test_tls_where_there_is_none(port: int, doctor: Doctor) -> None:
    code, checks = doctor(f"https://localhost:{port}")
    assert (code, troubles(checks)) == (9, [("tls", "TLS_FAILED")])


def test_a_server_without_families(doctor: Doctor) -> None:
    with serving(MemoryStore()) as port:
        code, checks = doctor(port)
    assert (code, troubles(checks)) == (4, [("families", "NO_FAMILIES")])


def test_offline(port: int, doctor: Doctor) -> None:
    code, checks = doctor(port, offline="1")
    assert code == 0
    assert {checks[name]["outcome"] for name in ("name", "connection", "families")} == {"skipped"}
    assert "SEEDZOO_OFFLINE" in checks["families"]["message"]


def test_a_cache_that_cannot_be_written(port: int, doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, checks = doctor(port, home=str(tmp_path / "file" / "home"))
    assert (code, troubles(checks)) == (11, [("cache", "CACHE_NOT_WRITABLE")])


def test_a_unix_socket_without_server(doctor: Doctor, tmp_path: Path) -> None:
    code, checks = doctor(f"unix:{tmp_path / 'socket'}")
    assert (code, troubles(checks)) == (9, [("connection", "NOT_LISTENING")])


def test_where_settings_come_from(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('server = "here:1"\ntoken = "t"\n')
    found = setting_sources(environ={"SEEDZOO_CONFIG": str(config), "SEEDZOO_TOKEN": "u"})
    assert (found["server"], found["token"], found["home"]) == (str(config), "SEEDZOO_TOKEN", "default")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"http_proxy": "http://me:secret@proxy:3128"}, "proxy:3128"),
        ({"https_proxy": "proxy:3128", "no_proxy": "example.org"}, None),
        ({"https_proxy": "proxy:3128", "no_proxy": "other.org"}, "proxy:3128"),
    ],
)
def test_the_proxy_that_grpc_uses(environ: dict[str, str], expected: str | None) -> None:
    assert proxy_of(parse_address("zoo.example.org:1"), environ) == expected
    assert proxy_of(parse_address("localhost:1"), environ) is None
