"""TLS of the server, and certificates that it asks clients for."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from seedzoo.errors import LocalFailure, RequestError
from seedzoo_server.settings import ServerSettings

__all__ = ["tls_credentials"]


def tls_credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """What the settings say of TLS; None for an unencrypted port.

    Raises:
        RequestError: A certificate without key, or the reverse, or an authority for clients without either; a file
            that is no PEM file, or a key that is encrypted or belongs to another certificate.
        LocalFailure: A file cannot be read.
    """
    certificate, key, clients = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None and key is None and clients is None:
        return None
    if certificate is None or key is None:
        raise RequestError(
            "TLS needs a certificate and its key", hint="Give --tls-certificate and --tls-key.", field="tls_certificate"
        )
    pair = (_read(key, "tls_key"), _read(certificate, "tls_certificate"))
    authority = None if clients is None else _read(clients, "tls_client_ca")
    _check(certificate, key, clients)
    return grpc.ssl_server_credentials([pair], root_certificates=authority, require_client_auth=clients is not None)


def _check(certificate: Path, key: Path, clients: Path | None) -> None:
    """Let OpenSSL look at them: gRPC takes anything, and then refuses the port or every connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # instead of asking on the terminal
    except (ssl.SSLError, ValueError) as error:
        raise RequestError(
            f"{certificate} and {key} cannot be used together: {error}",
            hint="The certificate chain begins with the server's own; the key is its own, without a password.",
            field="tls_key",
        ) from error
    if clients is None:
        return
    try:
        context.load_verify_locations(clients)
    except (ssl.SSLError, ValueError) as error:
        raise RequestError(
            f"{clients} cannot be used: {error}", hint="It must hold certificates.", field="tls_client_ca"
        ) from error


def _read(path: Path, field: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LocalFailure(f"cannot read {path}: {error.strerror or error}", hint="Check the TLS settings.") from error
    if b"-----BEGIN " not in content:
        raise RequestError(f"{path} is no PEM file", hint="It must hold -----BEGIN ...-----.", field=field)
    return content
