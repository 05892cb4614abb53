"""Images brought to a server: through the client library, over bare gRPC streams, and straight to S3 with boto3."""

from __future__ import annotations

import io
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from raw_stream import DISCARDED, KEPT, send_raw

from seedzoo_client import Client

__all__ = ["CONTENDERS", "measure_uploads", "write_images"]

_PIECE_BYTES = 1 << 20
_PNG = b"\x89PNG\r\n\x1a\n"
CONTENDERS = {
    "api": "`Client.upload`",
    "discarded": "gRPC stream, a message an image, discarded",
    "kept": "gRPC stream, a message an image, kept",
    "discarded_gathered": "gRPC stream, messages of 1 MiB, discarded",
    "kept_gathered": "gRPC stream, messages of 1 MiB, kept",
    "one_object": "boto3 `upload_fileobj`, all as one object",
    "object_each": "boto3 `upload_fileobj`, an object an image",
}
"""What is measured, and how it is called in the table."""


def write_images(folder: Path, classes: Sequence[str], *, count: int, size: int) -> None:
    """Files of random bytes in a folder for each class; a server does not decode what it is sent."""
    for name in classes:
        (folder / name).mkdir(parents=True)
    for index in range(count):
        place = folder / classes[index % len(classes)] / f"{index:06d}.png"
        place.write_bytes(_PNG + os.urandom(size - len(_PNG)))


def _each(files: Sequence[Path]) -> Iterator[bytes]:
    """A message an image; an image of more than 1 MiB in pieces."""
    for path in files:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece


def _gathered(files: Sequence[Path]) -> Iterator[bytes]:
    """As many images as fit into 1 MiB."""
    pending, size = [], 0
    for piece in _each(files):
        if size + len(piece) > _PIECE_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
        pending.append(piece)
        size += len(piece)
    yield b"".join(pending)


def measure_uploads(
    folder: Path, *, zoo: Client, family: str, raw: grpc.Channel, s3: Any, bucket: str, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each contender in each round; in every round another one begins.

    Args:
        folder: As :func:`write_images` made it.
        zoo: Connected to the server.
        family: Whose classes the folders are called after.
        raw: Channel to a process of ``raw_stream.py``.
        s3: boto3's client for the server's store.
        bucket: The store's bucket.
        rounds: How often each is measured.
    """
    files = sorted(folder.glob("*/*"))
    total = sum(path.stat().st_size for path in files)

    def api() -> Callable[[], None]:
        uploaded = zoo.upload(folder, family=family)
        return partial(zoo.delete_dataset, uploaded.id)  # or the server would have it already the next time

    def stream(method: str, pieces: Callable[[Sequence[Path]], Iterator[bytes]]) -> None:
        if send_raw(raw, method, pieces(files)) != total:
            raise SystemExit("the bare stream lost bytes")

    def one_object() -> None:
        with io.BytesIO(whole) as file:
            s3.upload_fileobj(file, bucket, f"boto3/{uuid.uuid4()}")

    def object_each() -> None:
        prefix = f"boto3/{uuid.uuid4()}"
        for path in files:
            with path.open("rb") as file:
                s3.upload_fileobj(file, bucket, f"{prefix}/{path.parent.name}/{path.name}")

    whole = b"".join(path.read_bytes() for path in files)
    contenders: dict[str, Callable[[], Callable[[], None] | None]] = {
        "api": api,
        "discarded": partial(stream, DISCARDED, _each),
        "kept": partial(stream, KEPT, _each),
        "discarded_gathered": partial(stream, DISCARDED, _gathered),
        "kept_gathered": partial(stream, KEPT, _gathered),
        "one_object": one_object,
        "object_each": object_each,
    }
    if contenders.keys() != CONTENDERS.keys():
        raise AssertionError("the table and the contenders differ")
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for turn in range(rounds):
        random.Random(turn).shuffle(order)
        for name in order:
            started = time.perf_counter()
            clean = contenders[name]()
            seconds[name].append(time.perf_counter() - started)
            if clean is not None:
                clean()
        print(turn, {name: round(values[-1], 2) for name, values in seconds.items()}, flush=True)
    return seconds
