"""What can be found out about a server without gRPC: its name, its port, its certificate, and whether it speaks HTTP/2.

gRPC tells all of these failures as UNAVAILABLE; told apart, each has a remedy of its own.
"""

from __future__ import annotations

import ipaddress
import os
import pkgutil
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from seedzoo.errors import LocalFailure, RequestError, Unavailable
from seedzoo_client.channel import Address
from seedzoo_client.settings import TLSConfig

__all__ = [
    "Certificate",
    "connect",
    "handshake",
    "host_and_port",
    "proxy_of",
    "resolve",
    "socket_path",
    "speaks_http2",
    "speaks_tls",
]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""How an HTTP/2 client begins: the preface and empty SETTINGS (RFC 9113, 3.4)."""
_SETTINGS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The certificate that a server showed and that was found valid."""

    names: tuple[str, ...]
    days_left: float
    protocol: str
    """For example ``TLSv1.3``."""
    alpn: str | None
    """``h2`` where the server agreed to HTTP/2."""


def host_and_port(address: Address) -> tuple[str, int]:
    """Name or number, and port, of an address that is no Unix socket."""
    parts = urlsplit(f"//{address.target}")
    assert parts.hostname is not None  # parse_address saw to it
    assert parts.port is not None
    return parts.hostname, parts.port


def proxy_of(address: Address, environ: Mapping[str, str] = os.environ) -> str | None:
    """The HTTP proxy that gRPC goes through, without its password; None where it connects by itself."""
    if address.local:
        return None
    found = next((environ[name] for name in ("grpc_proxy", "https_proxy", "http_proxy") if environ.get(name)), None)
    excepted = environ.get("no_grpc_proxy") or environ.get("no_proxy") or ""
    host, _ = host_and_port(address)
    if found is None or _is_excepted(host, excepted):
        return None
    parts = urlsplit(found if "://" in found else f"//{found}")
    try:
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:
        return "an address that cannot be understood"


def _is_excepted(host: str, excepted: str) -> bool:
    """As gRPC reads ``no_proxy``: ends of names, and networks."""
    for entry in filter(None, map(str.strip, excepted.split(","))):
        if host.lower().endswith(entry.lower()):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:  # a name, on one side or the other
            continue
    return False


def resolve(address: Address) -> list[tuple[str, int]]:
    """Numbers that the server's name stands for, each once.

    Raises:
        Unavailable: The name is not known.
    """
    host, port = host_and_port(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(
            f"the name {host} cannot be resolved: {getattr(error, 'strerror', None) or error}",
            hint="Correct the name in --server, or mend this machine's DNS.",
            reason="NAME_UNKNOWN",
        ) from error
    return list(dict.fromkeys((str(entry[4][0]), int(entry[4][1])) for entry in found))


def connect(place: tuple[str, int] | str, *, timeout: float) -> tuple[socket.socket, float]:
    """An open connection and how many seconds it took.

    Args:
        place: Number and port, or the path of a Unix socket.
        timeout: In seconds; holds for the socket as well.

    Raises:
        OSError: Nobody listens, or nothing came back in time.
    """
    started = time.perf_counter()
    if isinstance(place, str):
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened.settimeout(timeout)
        try:
            opened.connect(place)
        except BaseException:
            opened.close()
            raise
    else:
        opened = socket.create_connection(place, timeout=timeout)
    return opened, time.perf_counter() - started


def handshake(opened: socket.socket, *, host: str, tls: TLSConfig) -> tuple[ssl.SSLSocket, Certificate]:
    """Speak TLS as the client would: the same authorities, the same certificate of our own, the same name.

    Args:
        opened: A connection; it belongs to what is returned, and is closed where this fails.
        host: Name that the certificate must have.
        tls: Files.

    Raises:
        Unavailable: The server speaks no TLS, or its certificate is not valid here.
        LocalFailure: A TLS file of ours cannot be read.
    """
    try:
        context = _context(tls)
        try:
            wrapped = context.wrap_socket(opened, server_hostname=host)
            return wrapped, _certificate(wrapped)
        except ssl.SSLCertVerificationError as error:
            raise _invalid(error, host) from error
        except (OSError, ValueError) as error:
            raise Unavailable(
                f"no TLS handshake: {getattr(error, 'reason', None) or error}",
                hint="Without TLS on the server, write --server without https:// and unset SEEDZOO_CA.",
                reason="TLS_FAILED",
            ) from error
    except BaseException:
        opened.close()
        raise


def _context(tls: TLSConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    try:
        named = tls.ca or os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
        if named:
            context.load_verify_locations(cafile=str(named))
        else:
            _load_authorities_of_grpc(context)
        if tls.client_certificate is not None:
            context.load_cert_chain(tls.client_certificate, tls.client_key)
    except (OSError, ValueError) as error:
        raise LocalFailure(
            f"a TLS file cannot be used: {getattr(error, 'strerror', None) or error}",
            hint="Check SEEDZOO_CA, SEEDZOO_CLIENT_CERTIFICATE and SEEDZOO_CLIENT_KEY.",
            reason="TLS_FILES",
        ) from error
    return context


def _load_authorities_of_grpc(context: ssl.SSLContext) -> None:
    # gRPC brings its own authorities: what the system trusts beyond them does not help it.
    try:
        bundled = pkgutil.get_data("grpc._cython", "_credentials/roots.pem")
    except OSError:
        bundled = None
    if bundled is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=bundled.decode("ascii", "ignore"))


def _certificate(wrapped: ssl.SSLSocket) -> Certificate:
    shown: Mapping[str, Any] = wrapped.getpeercert() or {}
    names = tuple(str(value) for _, value in shown.get("subjectAltName", ()))
    left = ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()
    return Certificate(
        names=names,
        days_left=left / 86_400,
        protocol=wrapped.version() or "",
        alpn=wrapped.selected_alpn_protocol(),
    )


def _invalid(error: ssl.SSLCertVerificationError, host: str) -> Unavailable:
    why = error.verify_message
    if "expired" in why or "not yet valid" in why:
        hint = "Renew the server's certificate, or set this machine's clock."
    elif "mismatch" in why.lower():
        hint = f"Name the server as its certificate does, or have {host} added to the certificate."
    else:
        hint = "Name the PEM file of the authority that signed it: SEEDZOO_CA=/path/ca.pem."
    return Unavailable(f"the server's certificate is not valid here: {why}", hint=hint, reason="CERTIFICATE_INVALID")


def speaks_http2(opened: socket.socket) -> bool:
    """Whether the other side answers the begin of HTTP/2 as a server of it must: with its SETTINGS."""
    try:
        opened.sendall(_PREFACE)
        header = b""
        while len(header) < 9:
            piece = opened.recv(9 - len(header))
            if not piece:
                return False
            header += piece
    except OSError:
        return False
    return header[3] == _SETTINGS and header[5:] == bytes(4)


def speaks_tls(place: tuple[str, int], *, timeout: float) -> bool:
    """Whether a TLS server listens, valid here or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        opened, _ = connect(place, timeout=timeout)
    except OSError:
        return False
    try:
        with context.wrap_socket(opened):
            return True
    except (OSError, ValueError):
        return False
    finally:
        opened.close()


def socket_path(address: Address) -> str:
    """Path of a Unix socket; raises RequestError for an abstract one, which only gRPC can name."""
    path = address.target.removeprefix("unix:")
    if path.startswith("//"):
        path = path[2:]
    if not path or not Path(path).name:
        raise RequestError(f"{address.label!r} names no socket", field="server")
    return path
