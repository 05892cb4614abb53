"""One table from what gRPC reports to the error that a user sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc import StatusCode
from grpc_status import rpc_status

from seedzoo.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    DataError,
    IntegrityError,
    ItemsError,
    LimitExceeded,
    LocalFailure,
    MissingExtra,
    NotFound,
    PermissionDenied,
    RequestError,
    StoreError,
    Unauthenticated,
    Unavailable,
    ZooError,
    error_class,
)

__all__ = ["CLASS_OF_CODE", "asked_wait", "from_rpc_error", "is_transient", "trouble"]

CLASS_OF_CODE: dict[StatusCode, type[ZooError]] = {
    StatusCode.ABORTED: Conflict,
    StatusCode.ALREADY_EXISTS: AlreadyExists,
    StatusCode.CANCELLED: Cancelled,
    StatusCode.DATA_LOSS: IntegrityError,
    StatusCode.DEADLINE_EXCEEDED: Unavailable,
    StatusCode.FAILED_PRECONDITION: RequestError,
    StatusCode.INVALID_ARGUMENT: RequestError,
    StatusCode.NOT_FOUND: NotFound,
    StatusCode.OUT_OF_RANGE: RequestError,
    StatusCode.PERMISSION_DENIED: PermissionDenied,
    StatusCode.RESOURCE_EXHAUSTED: LimitExceeded,
    StatusCode.UNAUTHENTICATED: Unauthenticated,
    StatusCode.UNAVAILABLE: Unavailable,
    StatusCode.UNIMPLEMENTED: Unavailable,
}
"""The class where the server gives no details of its own; ZooError for all other codes."""

_DOMAIN = "seedzoo"
_ENDED = (grpc.Call, grpc.aio.AioRpcError)
"""What says how a call ended; grpc.aio's errors are no calls."""
_TRANSIENT = frozenset({StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED})
_BROKEN = ("RST_STREAM", "Internal error from Core")
"""Internal errors that are broken streams: a proxy gave up on a long one; grpc.aio could not write, and lost why."""
_START_HINT = "Start one with `zoo serve --dev`, or name yours with --server HOST:PORT or SEEDZOO_SERVER."
_DOCTOR_HINT = "`zoo doctor` tells what is wrong."
_TOKEN_HINT = "Set an access token: SEEDZOO_TOKEN, or token in config.toml."


@dataclass(frozen=True, slots=True)
class _Details:
    kind: str = ""
    reason: str = ""
    hint: str = ""
    message: str = ""
    violations: list[tuple[str, str]] = field(default_factory=list)
    retry_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Sign:
    """What a text of gRPC's means, where one of these pieces is in it; ``{server}`` stands for the address."""

    pieces: tuple[str, ...]
    message: str
    hint: str
    reason: str | None = None


# The first that fits decides. gRPC tells of one address only: where a name stands for several, of any of them.
_SIGNS = (
    _Sign(
        ("peer name", "hostname mismatch"),
        "the certificate that {server} shows is for another name",
        "Name the server in --server as its certificate does, or have that name added to the certificate.",
        "CERTIFICATE_INVALID",
    ),
    _Sign(
        ("certificate has expired", "certificate is not yet valid"),
        "the certificate that {server} shows has expired or is not valid yet",
        "Have the server's certificate renewed, or set this machine's clock.",
        "CERTIFICATE_INVALID",
    ),
    _Sign(
        ("certificate_verify_failed",),
        "the certificate that {server} shows was signed by an authority that is not known here",
        "Name the PEM file of that authority: SEEDZOO_CA=/path/ca.pem.",
        "CERTIFICATE_INVALID",
    ),
    _Sign(
        ("wrong_version_number",),
        "{server} does not speak TLS",
        "Without TLS on the server, write --server without https:// and unset SEEDZOO_CA; or check the port.",
        "TLS_FAILED",
    ),
    _Sign(
        ("empty address list",),
        "no connection to {server} can be made with these TLS files",
        "Check SEEDZOO_CA, SEEDZOO_CLIENT_CERTIFICATE and SEEDZOO_CLIENT_KEY.",
        "TLS_FILES",
    ),
    _Sign(
        ("ssl", "handshake", "tls"),
        "no secure connection to {server}",
        f"Check that the server speaks TLS and that --server begins with https:// only if it does; {_DOCTOR_HINT}",
        "TLS_FAILED",
    ),
    _Sign(
        ("http1.x server", "http/1"),
        "what answers at {server} is no gRPC server: it does not speak HTTP/2",
        "Check the port; a proxy in front of the server must pass HTTP/2 on.",
        "NOT_GRPC",
    ),
    _Sign(("resolution failed", "dns"), "the name of the server {server} cannot be found", _START_HINT),
    _Sign(
        ("failed to connect to all addresses; last error: unavailable",),
        "{server} closes connections as soon as they are made",
        f"If it speaks TLS, use --server https://{{server}}; it may also want a certificate of yours, or have too many "
        f"connections: {_DOCTOR_HINT}",
        "CONNECTION_CLOSED",
    ),
    _Sign(("socket closed", "reset", "goaway"), "the connection to {server} broke", "Run the same command again."),
    _Sign(("",), "no server answers at {server}", f"{_START_HINT} {_DOCTOR_HINT}"),
)


def is_transient(error: grpc.RpcError) -> bool:
    """Whether the same stream may work when it is opened again."""
    if not isinstance(error, _ENDED):
        return False
    if asked_wait(error) is not None:
        return True
    code = error.code()
    details = _details(error)
    if details.kind:
        # A store may come back as a server does; one that is unsafe has a kind of its own and stays so.
        passing = details.kind == StoreError.__name__ and code is StatusCode.UNAVAILABLE
        return passing or details.kind == Unavailable.__name__
    text = error.details() or ""
    return code in _TRANSIENT or (code is StatusCode.INTERNAL and any(sign in text for sign in _BROKEN))


def asked_wait(error: grpc.RpcError | None) -> float | None:
    """Seconds after which a server that refused a call for now wants it again; None where it names none."""
    if not isinstance(error, _ENDED) or error.code() is not StatusCode.RESOURCE_EXHAUSTED:
        return None
    return _details(error).retry_s


def trouble(error: grpc.RpcError | None) -> str:
    """What is wrong while a transient error lasts, in a few words."""
    if isinstance(error, _ENDED) and ((details := _details(error)).kind or details.retry_s is not None):
        return details.message
    return "connection lost"


def from_rpc_error(error: grpc.RpcError, *, server: str) -> ZooError:
    """The error that a failed call stands for.

    Args:
        error: What grpc raised.
        server: The server's address as people are told.
    """
    if not isinstance(error, _ENDED):
        return ZooError(f"the call to {server} failed: {error}", reason="SERVER_FAILED")
    code, text = error.code(), error.details() or ""
    details = _details(error)
    if details.kind or details.reason:
        return _from_details(details, code=code, text=text)
    if code is StatusCode.UNAVAILABLE:
        return _unreachable(text, server=server)
    if code is StatusCode.CANCELLED:
        # Somebody who cancels is told with a reason; a server that stops only breaks off what outlasts its grace.
        return Unavailable(f"{server} broke the call off, as a server does that stops", hint="Try again.")
    cls = CLASS_OF_CODE.get(code, ZooError)
    field_name, message = details.violations[0] if details.violations else ("", text)
    hint, reason = "", None
    if code is StatusCode.DEADLINE_EXCEEDED:
        message, hint, reason = f"{server} did not answer in time", "Try again.", "DEADLINE_EXCEEDED"
    elif code is StatusCode.UNIMPLEMENTED:
        message = f"{server} does not offer this call: it is older than this client, or no seedzoo server"
        reason = "UNIMPLEMENTED"
    elif code in (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED):
        message, hint, reason = f"{server} refuses access: {text}", _TOKEN_HINT, code.name
    elif cls is ZooError:
        message, reason = f"the server {server} failed: {text or code.name}", "SERVER_FAILED"
        hint = "Its log has the reason."
    return cls(message or code.name, hint=hint, reason=reason, field=field_name)


def _from_details(details: _Details, *, code: StatusCode, text: str) -> ZooError:
    cls = error_class(details.kind)
    message = details.message or text
    if cls is ZooError:
        cls = CLASS_OF_CODE.get(code, ZooError)
    if cls in (LocalFailure, MissingExtra):
        # "Disk full" on the server must not send the user looking at this machine.
        cls, message = Unavailable, f"the server cannot do this: {message}"
    if cls is ItemsError:
        # Its faults, by index, do not travel here.
        cls = DataError
    field_name = details.violations[0][0] if details.violations else ""
    return cls(message, hint=details.hint, reason=details.reason or None, field=field_name)


def _unreachable(text: str, *, server: str) -> ZooError:
    lowered = text.lower()
    sign = next(sign for sign in _SIGNS if any(piece in lowered for piece in sign.pieces))
    return Unavailable(sign.message.format(server=server), hint=sign.hint.format(server=server), reason=sign.reason)


def _details(error: Any) -> _Details:
    try:
        status = rpc_status.from_call(error)
    except (ValueError, DecodeError):
        # A proxy rewrote the code, or the trailer is not what it says it is.
        status = None
    if status is None:
        return _Details()
    kind = reason = hint = ""
    violations: list[tuple[str, str]] = []
    retry_s: float | None = None
    for detail in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == _DOMAIN:
            kind, reason, hint = info.metadata.get("kind", ""), info.reason, info.metadata.get("hint", "")
        elif detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad):
            violations += [(violation.field, violation.description) for violation in bad.field_violations]
        elif detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            # Whatever a stranger wrote there: a time to wait is none below zero.
            retry_s = max(0.0, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)
    return _Details(kind, reason, hint, status.message, violations, retry_s)
