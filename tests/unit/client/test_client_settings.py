"""Settings, addresses, and the channel's service config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seedzoo.errors import LocalFailure, RequestError
from seedzoo_client.channel import RETRIED_METHODS, open_channel, parse_address, service_config
from seedzoo_client.settings import DEFAULT_SERVER, TLSConfig, load_settings
from seedzoo_protos.v1 import catalog_pb2, dataset_pb2, selection_pb2


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('server = "file:1"\nhome = "/file"\noffline = true\n')
    return path


def test_flags_then_environment_then_file(config: Path) -> None:
    environ = {"SEEDZOO_CONFIG": str(config)}
    assert load_settings(environ=environ).server == "file:1"
    environ["SEEDZOO_SERVER"] = "env:2"
    environ["SEEDZOO_OFFLINE"] = "0"
    found = load_settings(environ=environ)
    assert (found.server, found.home, found.offline) == ("env:2", Path("/file"), False)
    found = load_settings(server="flag:3", home="/flag", offline=True, environ=environ)
    assert (found.server, found.home, found.offline) == ("flag:3", Path("/flag"), True)


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = load_settings(environ={})
    assert (found.server, found.offline, found.tls, found.token) == (DEFAULT_SERVER, False, None, None)
    assert "secret" not in repr(load_settings(token="secret", environ={}))


@pytest.mark.parametrize(
    ("text", "message"),
    [("sever = 'x'", "unknown setting 'sever'"), ("server = 3", "must be a string"), ("server = ", "not valid TOML")],
)
def test_bad_config_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(RequestError, match=message) as caught:
        load_settings(environ={"SEEDZOO_CONFIG": str(path)})
    assert str(path) in caught.value.message


def test_bad_environment() -> None:
    with pytest.raises(RequestError, match="SEEDZOO_OFFLINE must be 1 or 0, not 'maybe'"):
        load_settings(environ={"SEEDZOO_OFFLINE": "maybe"})
    with pytest.raises(RequestError, match="which does not exist"):
        load_settings(environ={"SEEDZOO_CONFIG": "/no/such/file"})


@pytest.mark.parametrize(
    ("text", "target", "tls", "local"),
    [
        ("localhost", "localhost:7316", False, True),
        ("example.org:80", "example.org:80", False, False),
        ("https://zoo.example.org", "zoo.example.org:7316", True, False),
        ("[::1]:9", "[::1]:9", False, True),
        ("::1", "[::1]:7316", False, True),
        ("unix:/tmp/x", "unix:/tmp/x", False, True),
    ],
)
def test_addresses(text: str, target: str, tls: bool, local: bool) -> None:
    found = parse_address(text)
    assert (found.target, found.tls, found.local) == (target, tls, local)


@pytest.mark.parametrize("text", ["", ":1", "host:notaport", "host:99999", "host:0", "ftp://host", "host/path", "a b"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(RequestError, match="not a server's address"):
        parse_address(text)


def test_a_token_stays_off_open_networks(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="unencrypted"):
        open_channel(parse_address("example.org"), tls=None, token="t")
    open_channel(parse_address("localhost"), tls=None, token="t").close()
    with pytest.raises(LocalFailure, match="cannot read"):
        open_channel(parse_address("https://example.org"), tls=TLSConfig(ca=tmp_path / "no.pem"), token="t")


def test_only_unary_calls_are_retried() -> None:
    (config,) = json.loads(service_config())["methodConfig"]
    assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    services = {
        service.full_name: service
        for module in (catalog_pb2, dataset_pb2, selection_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    }
    retried = {(entry["service"], entry["method"]) for entry in config["name"]}
    assert retried == {(service, method) for service, methods in RETRIED_METHODS.items() for method in methods}
    for service, method in retried:
        found = services[service].methods_by_name[method]
        assert not found.client_streaming
        assert not found.server_streaming
