"""A gRPC channel with our limits, keepalive and retries."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from seedzoo.errors import LocalFailure, RequestError
from seedzoo_client.bearer import Bearer
from seedzoo_client.quoting import quoted
from seedzoo_client.settings import TLSConfig

__all__ = [
    "RETRIED_METHODS",
    "Address",
    "channel_credentials",
    "channel_options",
    "open_channel",
    "parse_address",
    "service_config",
]

DEFAULT_PORT = 7316

RETRIED_METHODS = {
    "seedzoo.v1.CatalogService": ("ListFamilies", "GetFamily", "ListVariants", "GetVariant", "GetProfile"),
    # CreateDataset and StartSelection carry a request id, AppendItems sends what may be sent twice.
    "seedzoo.v1.DatasetService": ("CreateDataset", "AppendItems", "ListMissing", "GetDataset"),
    "seedzoo.v1.SelectionService": ("StartSelection", "GetSelection", "ListSelections", "CancelSelection", "NextItems"),
}
"""Unary calls that may be repeated. Streams are taken up again by the client, never by the channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server is."""

    target: str
    """As gRPC wants it."""
    label: str
    """As people are told."""
    tls: bool
    local: bool
    """Whether the connection stays on this machine."""


def parse_address(text: str) -> Address:
    """Read ``host``, ``host:port``, ``[v6]:port``, ``http(s)://host:port`` or ``unix:/path``.

    Raises:
        RequestError: It is none of these.
    """
    stripped = text.strip()
    if stripped.startswith("unix:"):
        return Address(target=stripped, label=stripped, tls=False, local=True)
    scheme, _, rest = stripped.rpartition("://")
    if scheme not in ("", "http", "https", "grpc", "grpcs"):
        raise _bad_address(text)
    if rest.count(":") > 1 and not rest.startswith("["):
        rest = f"[{rest}]"
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _bad_address(text) from None
    if not host or port == 0 or parts.path.strip("/") or parts.query or parts.username or any(map(str.isspace, host)):
        raise _bad_address(text)
    shown = f"[{host}]" if ":" in host else host
    label = f"{shown}:{port or DEFAULT_PORT}"
    return Address(target=label, label=label, tls=scheme in ("https", "grpcs"), local=_is_local(host))


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which anybody may have registered
        return False


def _bad_address(text: str) -> RequestError:
    return RequestError(
        f"{quoted(text.rpartition('@')[2])} is not a server's address",  # before an @ may stand a password
        hint="Write host:port, or https://host:port for TLS.",
        field="server",
    )


def service_config() -> str:
    """Retries as gRPC reads them: on :data:`RETRIED_METHODS` only, and only where no server took the call."""
    names = [
        {"service": service, "method": method} for service, methods in RETRIED_METHODS.items() for method in methods
    ]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.2s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}]})


def channel_options(address: Address) -> list[tuple[str, str | int]]:
    """GRPC's settings for a channel to that address."""
    options: list[tuple[str, str | int]] = [
        # A profile of a large family is bigger than gRPC's default of 4 MiB.
        ("grpc.max_receive_message_length", 64 << 20),
        ("grpc.max_send_message_length", 8 << 20),
        # Middleboxes drop idle connections while a selection computes; servers allow a ping per 10 s or more.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 15_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Shared subchannels would hand one client the reconnect pause of another.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.service_config", service_config()),
        ("grpc.primary_user_agent", "seedzoo-client"),
    ]
    if address.local:
        # gRPC would ask http_proxy even for localhost.
        options.append(("grpc.enable_http_proxy", 0))
    return options


def channel_credentials(
    address: Address, *, tls: TLSConfig | None, token: str | None
) -> grpc.ChannelCredentials | None:
    """Credentials of an encrypted channel; None for one in plain text.

    Raises:
        RequestError: A token would travel unencrypted to another machine.
        LocalFailure: A TLS file cannot be read.
    """
    encrypted = address.tls or tls is not None
    if token and not (encrypted or address.local):
        raise RequestError(
            f"the access token would travel unencrypted to {address.label}",
            hint=f"Use --server https://{address.label}, or unset the token.",
            field="token",
        )
    return _credentials(tls or TLSConfig()) if encrypted else None


def open_channel(address: Address, *, tls: TLSConfig | None, token: str | None) -> grpc.Channel:
    """Open a channel; nothing is sent before the first call.

    Raises:
        RequestError: A token would travel unencrypted to another machine.
        LocalFailure: A TLS file cannot be read.
    """
    options = channel_options(address)
    credentials = channel_credentials(address, tls=tls, token=token)
    if credentials is not None:
        channel = grpc.secure_channel(address.target, credentials, options=options)
    else:
        channel = grpc.insecure_channel(address.target, options=options)
    return grpc.intercept_channel(channel, Bearer(token)) if token else channel


def _credentials(tls: TLSConfig) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(tls.ca),
        private_key=_read(tls.client_key),
        certificate_chain=_read(tls.client_certificate),
    )


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise LocalFailure(f"cannot read {path}: {error.strerror or error}", hint="Check the TLS settings.") from error
