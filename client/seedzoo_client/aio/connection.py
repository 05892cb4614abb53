"""A grpc.aio channel, and calls through it that carry the token and end with the task that waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import grpc

from seedzoo.errors import Cancelled
from seedzoo_client.bearer import Bearer
from seedzoo_client.channel import Address, channel_options
from seedzoo_client.progress import ProgressCallback, ignore
from seedzoo_client.retry import Backoff
from seedzoo_client.settings import RetryConfig
from seedzoo_client.status import asked_wait, from_rpc_error, is_transient
from seedzoo_protos.v1 import catalog_pb2_grpc, dataset_pb2_grpc, selection_pb2_grpc

__all__ = ["Connection", "pages"]

_T = TypeVar("_T")
_Q = TypeVar("_Q")
_R = TypeVar("_R")


class Connection:
    """A channel of one event loop, with the stubs of all services.

    Nothing is sent before the first call. Calls raise grpc's errors; those whose task is cancelled are cancelled.

    Args:
        address: Where the server is.
        credentials: As :func:`seedzoo_client.channel.channel_credentials` gives them.
        token: Access token.
        timeout: Seconds that one answer may take.
        retry: How long a call is repeated while the server is away.

    Raises:
        RequestError: No access token looks like that.
    """

    def __init__(
        self,
        address: Address,
        *,
        credentials: grpc.ChannelCredentials | None,
        token: str | None,
        timeout: float,
        retry: RetryConfig,
    ) -> None:
        # In the metadata of each call: grpc.aio wants an interceptor of its own for each of the four kinds of calls.
        self._metadata = (Bearer(token).header,) if token else ()
        options = channel_options(address)
        self._channel = (
            grpc.aio.insecure_channel(address.target, options=options)
            if credentials is None
            else grpc.aio.secure_channel(address.target, credentials, options=options)
        )
        self.loop = asyncio.get_running_loop()
        """The event loop that it belongs to."""
        self.server = address.label
        """The server's address as people are told."""
        self.timeout = timeout
        self.retry = retry
        # At run time one class of stubs serves both kinds of channels.
        self.catalog = cast(
            "catalog_pb2_grpc.CatalogServiceAsyncStub", catalog_pb2_grpc.CatalogServiceStub(self._channel)
        )
        self.datasets = cast(
            "dataset_pb2_grpc.DatasetServiceAsyncStub", dataset_pb2_grpc.DatasetServiceStub(self._channel)
        )
        self.selections = cast(
            "selection_pb2_grpc.SelectionServiceAsyncStub", selection_pb2_grpc.SelectionServiceStub(self._channel)
        )
        self._closed = False
        self._leaving: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close the channel; calls that still run end with :class:`seedzoo.errors.Cancelled`."""
        self._closed = True
        await self._channel.close()

    async def call(
        self, method: grpc.aio.UnaryUnaryMultiCallable[_Q, _R], request: _Q, *, timeout: float | None = None
    ) -> _R:
        """The response to one request."""
        with self._watched():
            return await method(request, metadata=self._metadata, timeout=timeout or self.timeout)

    async def patiently(self, method: grpc.aio.UnaryUnaryMultiCallable[_Q, _R], request: _Q) -> _R:
        """The response to a request that only reads, as :func:`seedzoo_client.retry.patiently` gets it.

        Raises:
            ZooError: The call failed.
        """
        backoff = Backoff(RetryConfig(total_seconds=self.timeout), progress=ignore)
        while True:
            try:
                return await self.call(method, request)
            except grpc.RpcError as error:
                seconds = None if asked_wait(error) is None else backoff.delay(error)
                if seconds is None:
                    raise from_rpc_error(error, server=self.server) from error
            await asyncio.sleep(seconds)

    async def persistently(
        self, method: grpc.aio.UnaryUnaryMultiCallable[_Q, _R], request: _Q, *, progress: ProgressCallback
    ) -> _R:
        """The response to a request that may be made twice, as :func:`seedzoo_client.retry.persistently` gets it.

        Raises:
            ZooError: The call failed for good.
        """
        backoff = Backoff(self.retry, progress=progress)
        while True:
            try:
                return await self.call(method, request)
            except grpc.RpcError as error:
                seconds = backoff.delay(error) if is_transient(error) else None
                if seconds is None:
                    raise from_rpc_error(error, server=self.server) from error
            await asyncio.sleep(seconds)

    async def stream(self, method: grpc.aio.UnaryStreamMultiCallable[_Q, _R], request: _Q) -> AsyncGenerator[_R, None]:
        """The responses to one request; to be closed by whoever stops before their end."""
        with self._watched():
            call = method(request, metadata=self._metadata)
            try:
                async for message in call:
                    yield message
            finally:
                call.cancel()

    async def send(
        self, method: grpc.aio.StreamUnaryMultiCallable[_Q, _R], messages: AsyncIterator[_Q], *, timeout: float
    ) -> _R:
        """The response to a stream of requests; what ``messages`` raises cancels the call and is passed on."""
        with self._watched():
            call = method(metadata=self._metadata, timeout=timeout)
            try:
                async for message in messages:
                    try:
                        await call.write(message)
                    except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
                        # The call has ended. Why, only its response says: what a write reports is its own failure.
                        break
                else:
                    await call.done_writing()
                return await call
            finally:
                call.cancel()

    async def last_words(self, saying: Coroutine[Any, Any, None]) -> None:
        """Say something although the task is cancelled; cancelled once more, it leaves that behind."""
        task = self.loop.create_task(saying)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        await asyncio.shield(task)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Tell the end of a call that somebody else's ``close`` cancelled from the end of the task."""
        closed = Cancelled(f"the connection to {self.server} was closed")
        if self._closed:
            raise closed
        try:
            yield
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise closed from error
            raise


async def pages(fetch: Callable[[str], Awaitable[_T]]) -> AsyncIterator[_T]:
    """All pages of a listing, each asked for when it is wanted.

    Args:
        fetch: Gets the page that a token names; the first one for an empty token.
    """
    token = ""
    while True:
        page = await fetch(token)
        yield page
        token = cast(Any, page).next_page_token
        if not token:
            return
