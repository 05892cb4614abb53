"""The access token in every call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from seedzoo.errors import RequestError

__all__ = ["Bearer"]


@dataclass(frozen=True, slots=True)
class _CallDetails(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Sends an access token with every call.

    gRPC's own call credentials refuse every connection without TLS, also one that does not leave this machine.

    Args:
        token: Its text; blanks and line ends around it do not count.

    Raises:
        RequestError: No access token looks like that.
    """

    def __init__(self, token: str) -> None:
        text = token.strip()
        # What gRPC cannot send it would show in full in its own error.
        if not text or not all("!" <= char <= "~" for char in text):
            raise RequestError(
                "the access token is empty or has blanks or characters that no token has",
                hint="Set SEEDZOO_TOKEN to what `zoo token create` printed, and nothing else.",
                field="token",
            )
        self.header = ("authorization", f"Bearer {text}")
        """The metadata that says it."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """With the token."""
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """With the token."""
        return continuation(self._with_token(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """With the token."""
        return continuation(self._with_token(client_call_details), request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """With the token."""
        return continuation(self._with_token(client_call_details), request_iterator)

    def _with_token(self, details: Any) -> _CallDetails:
        return _CallDetails(
            method=details.method,
            timeout=details.timeout,
            metadata=[*(details.metadata or ()), self.header],
            credentials=details.credentials,
            wait_for_ready=getattr(details, "wait_for_ready", None),
            compression=getattr(details, "compression", None),
        )
