"""A byte stream over gRPC with nothing around it: what the transport itself allows on this machine.

Two methods: one discards what arrives, the other hashes it and puts it to S3 in objects of 16 MiB before it answers,
which is the least that anybody does who promises to keep it.

Run: python bench/raw_stream.py ENDPOINT BUCKET    (credentials in the environment; prints the port)
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import boto3
import grpc

__all__ = ["DISCARDED", "KEPT", "send_raw"]

DISCARDED, KEPT = "discarded", "kept"
_SERVICE = "seedzoo.bench.Raw"
_OBJECT_BYTES = 16 << 20

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]


def send_raw(channel: grpc.Channel, method: str, messages: Iterable[bytes]) -> int:
    """Send messages in one stream; the number of bytes that the server counted."""
    call = channel.stream_unary(
        f"/{_SERVICE}/{method}", request_serializer=lambda message: message, response_deserializer=bytes
    )
    return int(call(iter(messages)))


async def _discard(messages: AsyncIterator[bytes], _context: Context) -> bytes:
    size = 0
    async for message in messages:
        size += len(message)
    return str(size).encode()


def _keeping(s3: Any, bucket: str) -> Handler:
    async def keep(messages: AsyncIterator[bytes], _context: Context) -> bytes:
        size, digest, pending = 0, hashlib.sha256(), bytearray()
        async for message in messages:
            size += len(message)
            digest.update(message)
            pending += message
            if len(pending) >= _OBJECT_BYTES:
                await asyncio.to_thread(_put, s3, bucket, bytes(pending))
                pending.clear()
        if pending:
            await asyncio.to_thread(_put, s3, bucket, bytes(pending))
        return str(size).encode()

    return keep


def _put(s3: Any, bucket: str, content: bytes) -> None:
    s3.put_object(Bucket=bucket, Key=f"raw/{uuid.uuid4()}", Body=content)


async def _serve(endpoint: str, bucket: str) -> None:
    s3 = boto3.client("s3", endpoint_url=endpoint)
    methods = {DISCARDED: _discard, KEPT: _keeping(s3, bucket)}
    handlers = {name: grpc.stream_unary_rpc_method_handler(method) for name, method in methods.items()}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
