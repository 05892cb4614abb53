"""The border of the server: who calls, and errors on the wire.

Every ZooError becomes a google.rpc.Status, everything else an INTERNAL without details.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from seedzoo import errors
from seedzoo_server.identity import ANYBODY, Identity, check_role, set_caller
from seedzoo_server.logs import new_call
from seedzoo_server.metrics import Metrics
from seedzoo_server.public import public
from seedzoo_server.rates import CallRates
from seedzoo_server.tracing import Tracing

__all__ = ["Border", "status_of"]

_log = logging.getLogger(__name__)

_DOMAIN = "seedzoo"
_DETAILS_KEY = "grpc-status-details-bin"
# Clients take 8 KiB of metadata, in which a message travels three times, once with each byte written as three.
_MESSAGE_BYTES = 1000
_HINT_BYTES = 800

# The first class that an error is an instance of decides.
_CODES: tuple[tuple[type[errors.ZooError], grpc.StatusCode], ...] = (
    (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (errors.Conflict, grpc.StatusCode.ABORTED),
    (errors.IntegrityError, grpc.StatusCode.DATA_LOSS),
    (errors.StoreError, grpc.StatusCode.UNAVAILABLE),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.AccessDenied, grpc.StatusCode.PERMISSION_DENIED),
    (errors.LimitExceeded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.Cancelled, grpc.StatusCode.CANCELLED),
    (errors.ZooError, grpc.StatusCode.INTERNAL),
)


def status_of(error: errors.ZooError) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """The code and the detailed status of an error: ErrorInfo, and BadRequest or RetryInfo where they say more.

    Texts that would not fit into the metadata of an answer are cut.
    """
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    message, hint = _cut(error.message, _MESSAGE_BYTES), _cut(error.hint, _HINT_BYTES)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=_DOMAIN, metadata={"kind": type(error).__name__, "hint": hint}
    )
    details: list[Any] = [info]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.LimitExceeded) and error.retry_s:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(1000 * error.retry_s))
        details.append(retry)
    status = status_pb2.Status(code=code_pb2.Code.Value(code.name), message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return code, status


def _cut(text: str, size: int) -> str:
    """The text, or as much of its beginning as takes ``size`` bytes."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= size else encoded[: size - 3].decode(errors="ignore") + "…"


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception, method: str) -> NoReturn:
    if isinstance(error, errors.ZooError):
        shown = public(error)
        if shown is not error or isinstance(error, errors.IntegrityError):
            _log.error("%s: %s", method, error.message)
        code, status = status_of(shown)
        await context.abort(code, status.message, ((_DETAILS_KEY, status.SerializeToString()),))
    # What went wrong inside is for the operator's log, not for whoever called.
    _log.exception("%s failed", method, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "the server failed on this call; its log says why")


class Border(grpc.aio.ServerInterceptor):
    """What every call passes: who calls and whether they may, and exceptions turned into statuses.

    Args:
        identify: Who a token stands for (None: the call has none); raises ZooError. Runs in a thread. Where there is
            no such function, everybody is the same to the server, and a token that is sent says nothing.
        metrics: Counts calls.
        rates: How often a tenant may call.
        tracing: Makes a span of each call.
    """

    def __init__(
        self, identify: Callable[[str | None], Identity] | None, metrics: Metrics, rates: CallRates, tracing: Tracing
    ) -> None:
        self._identify = identify
        self._metrics = metrics
        self._rates = rates
        self._tracing = tracing

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler that would serve this call."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method.startswith("/grpc."):  # health and reflection look after themselves
            return handler
        coders = {
            "request_deserializer": _tolerant(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        # The stubs type a handler's functions for the synchronous server, and all as optional.
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._single(handler.unary_unary, method), **coders)
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(self._single(handler.stream_unary, method), **coders)
        return grpc.unary_stream_rpc_method_handler(self._many(handler.unary_stream, method), **coders)

    @asynccontextmanager
    async def _served(self, context: grpc.aio.ServicerContext[Any, Any], method: str) -> AsyncIterator[None]:
        """Around a call: who calls, what becomes of exceptions, and what is counted and logged of it."""
        identifier = new_call(_metadata(context, "x-request-id"))
        traced = self._tracing.call(method, metadata=context.invocation_metadata() or (), request_id=identifier)
        started = time.perf_counter()
        code = grpc.StatusCode.CANCELLED  # stays where the call is torn down
        tenant = ""
        try:
            token = _bearer(context)
            identity = ANYBODY if self._identify is None else await asyncio.to_thread(self._identify, token)
            tenant = identity.tenant
            self._rates.count(tenant)
            check_role(identity, method)
            set_caller(identity)
            yield
            code = grpc.StatusCode.OK
        except Exception as error:  # noqa: BLE001  (the border: everything becomes a status)
            code = _code_of(error)
            if isinstance(error, errors.StoreError):
                self._metrics.store_failed()
            await _abort(context, error, method)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.call_ended(method, code.name, seconds)
            traced(code)
            facts = {"method": method, "code": code.name, "seconds": round(seconds, 4), "tenant": tenant}
            _log.info("%s %s in %.3f s", method, code.name, seconds, extra={"facts": facts})

    def _single(self, inner: Any, method: str) -> Any:
        """For calls with one response."""

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with self._served(context, method):
                streamed = hasattr(request, "__aiter__")
                return await inner(_checked_stream(request) if streamed else _checked(request), context)

        return call

    def _many(self, inner: Any, method: str) -> Any:
        """For calls with a stream of responses."""

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with self._served(context, method):
                async for message in inner(_checked(request), context):
                    yield message

        return call


def _code_of(error: Exception) -> grpc.StatusCode:
    return status_of(public(error))[0] if isinstance(error, errors.ZooError) else grpc.StatusCode.INTERNAL


def _metadata(context: grpc.aio.ServicerContext[Any, Any], name: str) -> str | None:
    found = next((value for key, value in context.invocation_metadata() or () if key == name), None)
    return found if isinstance(found, str) else None


def _bearer(context: grpc.aio.ServicerContext[Any, Any]) -> str | None:
    """The access token of a call."""
    given = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    if not given:
        return None
    if len(given) > 1 or not isinstance(given[0], str):
        raise errors.Unauthenticated("a call carries at most one access token")
    scheme, _, token = given[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.Unauthenticated(
            "the authorization of a call must read 'Bearer TOKEN'", hint="Set SEEDZOO_TOKEN to an access token."
        )
    return token.strip()


class _Undecodable:
    """Stands for request bytes that are no message."""


def _tolerant(deserialize: Any) -> Any:
    """Let undecodable bytes come as far as the handler, where they get a status like every other mistake."""

    def decode(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except DecodeError:
            return _Undecodable()

    return decode


def _checked(request: Any) -> Any:
    if isinstance(request, _Undecodable):
        raise errors.RequestError("the request is no message of this call", hint="Compare the .proto files.")
    return request


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)
