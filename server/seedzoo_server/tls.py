"""TLS of the server, and certificates that it asks clients for."""

from __future__ import annotations

from pathlib import Path

import grpc

from seedzoo.errors import LocalFailure, RequestError
from seedzoo_server.settings import ServerSettings

__all__ = ["tls_credentials"]


def tls_credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """What the settings say of TLS; None for an unencrypted port.

    Raises:
        RequestError: A certificate without key, or the reverse, or an authority for clients without either.
        LocalFailure: A file cannot be read.
    """
    certificate, key, clients = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None and key is None and clients is None:
        return None
    if certificate is None or key is None:
        raise RequestError(
            "TLS needs a certificate and its key", hint="Give --tls-certificate and --tls-key.", field="tls_certificate"
        )
    return grpc.ssl_server_credentials(
        [(_read(key), _read(certificate))],
        root_certificates=None if clients is None else _read(clients),
        require_client_auth=clients is not None,
    )


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LocalFailure(f"cannot read {path}: {error.strerror or error}", hint="Check the TLS settings.") from error
    if b"-----BEGIN " not in content:
        raise RequestError(f"{path} is no PEM file", hint="It must hold -----BEGIN ...-----.", field="tls_certificate")
    return content
