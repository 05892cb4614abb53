"""One table from what gRPC reports to the error that a user sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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

__all__ = ["CLASS_OF_CODE", "from_rpc_error", "is_transient", "translated", "trouble"]

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
_CALLED_TOO_OFTEN = "RATE_LIMITED"
_START_HINT = "Start one with `zoo serve --dev`, or name yours with --server HOST:PORT or SEEDZOO_SERVER."
_TOKEN_HINT = "Set an access token: SEEDZOO_TOKEN, or token in config.toml."


@dataclass(frozen=True, slots=True)
class _Details:
    kind: str = ""
    reason: str = ""
    hint: str = ""
    message: str = ""
    violations: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Raise what goes wrong with a call inside as a :class:`ZooError`.

    Args:
        server: The server's address as people are told.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error, server=server) from error


def is_transient(error: grpc.RpcError) -> bool:
    """Whether the same stream may work when it is opened again."""
    if not isinstance(error, _ENDED):
        return False
    code = error.code()
    details = _details(error)
    if details.kind:
        # A store may come back as a server does; one that is unsafe has a kind of its own and stays so.
        passing = details.kind == StoreError.__name__ and code is StatusCode.UNAVAILABLE
        return passing or details.kind == Unavailable.__name__ or details.reason == _CALLED_TOO_OFTEN
    text = error.details() or ""
    return code in _TRANSIENT or (code is StatusCode.INTERNAL and any(sign in text for sign in _BROKEN))


def trouble(error: grpc.RpcError | None) -> str:
    """What is wrong while a transient error lasts, in a few words."""
    if isinstance(error, _ENDED) and (details := _details(error)).kind:
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
    if "ssl" in lowered or "handshake" in lowered or "tls" in lowered:
        return Unavailable(
            f"no secure connection to {server}",
            hint="Check that the server speaks TLS and that --server begins with https:// only if it does.",
        )
    if "resolution failed" in lowered or "dns" in lowered:
        return Unavailable(f"the name of the server {server} cannot be found", hint=_START_HINT)
    if "socket closed" in lowered or "reset" in lowered or "goaway" in lowered:
        return Unavailable(f"the connection to {server} broke", hint="Run the same command again.")
    return Unavailable(f"no server answers at {server}", hint=_START_HINT)


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
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == _DOMAIN:
            kind, reason, hint = info.metadata.get("kind", ""), info.reason, info.metadata.get("hint", "")
        elif detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad):
            violations += [(violation.field, violation.description) for violation in bad.field_violations]
    return _Details(kind, reason, hint, status.message, violations)
