"""The process that decodes images for :class:`seedzoo.inference.decoding_processes.ProcessDecoder`.

It gives up what it does not need before it sees the first image: it can open no file and no connection any more (a
limit of zero open files), start no process (unless it runs as root), write no core file, and use only so much memory
and, for each image, so much time of a CPU. What it answers is plain data: the parent reads nothing of it as code.

Request: length (u32), then a pickle of :class:`Request`, then the files one after the other.
Answer, for each file as soon as it is decoded: :data:`ANSWER` with kind, place in :data:`CHANGES`, and width and height
of the file where it was resized, then the pixels; or, where it could not be, kind, 0, length and 0, then JSON.
"""

from __future__ import annotations

import errno
import importlib
import io
import json
import math
import os
import pickle
import signal
import socket
import struct
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seedzoo.errors import DataError
from seedzoo.inference.decode import FORMATS, DecodedImage, decode_image, out_of_memory
from seedzoo.records import Preprocessing

__all__ = ["ANSWER", "CHANGES", "DECODED", "FAILED", "LENGTH", "READY", "REFUSED", "Limits", "Request", "main"]

LENGTH = struct.Struct("!I")
ANSWER = struct.Struct("!cBII")
CHANGES = ("", "grey to colour", "colour to grey")
"""What may have been done to the colours of an image."""
READY, DECODED, REFUSED, FAILED = b"r", b"d", b"e", b"f"
"""Kinds of answers: it has started; an image; a DataError; a mistake of ours, or of the start."""
_WATCH_S = 1.0
# The module resource is imported where it is used: the server imports this module on systems that have none as well.
_LIKELY_VICTIM = "1000"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may use.

    Attributes:
        image_s: Seconds of CPU for one image.
        memory_bytes: Address space beyond what it has when it is ready.
    """

    image_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Request:
    """What to decode.

    Attributes:
        preprocessing: Size and channels that the task wants.
        max_pixels: Largest image that is decoded.
        sizes: Bytes of each file.
    """

    preprocessing: Preprocessing
    max_pixels: int
    sizes: tuple[int, ...]


def main(descriptor: int, parent: int, function: str, image_s: float, memory_bytes: int) -> None:
    """Serve requests until the parent closes its end or is gone.

    Args:
        descriptor: Of the socket to the parent.
        parent: Its process.
        function: What decodes, as ``module:name``; called as :func:`seedzoo.inference.decode.decode_image`.
        image_s: See :class:`Limits`.
        memory_bytes: See there.
    """
    with socket.socket(fileno=descriptor) as connection:
        try:
            decode = _prepared(function, parent, Limits(image_s, memory_bytes))
        except Exception as error:  # noqa: BLE001  (the parent has to tell; nobody sees this process)
            _answer(connection, FAILED, [repr(error)])
            return
        _answer(connection, READY, [])
        # The parent is gone, or wants no more.
        with suppress(EOFError, BrokenPipeError, ConnectionResetError):
            while True:
                _serve(connection, decode, image_s)


def _prepared(function: str, parent: int, limits: Limits) -> Callable[..., DecodedImage]:
    # The parent decides when this process ends; Ctrl-C and a service manager's signal reach it through the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    warnings.simplefilter("ignore")  # what Pillow finds odd in an image is nothing that anybody here can mend
    # Where memory runs out, this process goes and not the server. It may be forbidden to say so.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_LIKELY_VICTIM)
    module, _, name = function.partition(":")
    decode: Callable[..., DecodedImage] = getattr(importlib.import_module(module), name)
    _load_everything()
    _limit(limits)
    return decode


def _load_everything() -> None:
    """Whatever Python or Pillow would load while it decodes: afterwards no file can be opened."""
    Image.init()
    for module in ("ImageCms", "ImageColor", "ImageFilter", "ImagePalette", "ImageSequence", "MpoImagePlugin"):
        importlib.import_module(f"PIL.{module}")
    for kind in FORMATS:
        buffer = io.BytesIO()
        # A build of Pillow without this format will say so of the users' images.
        with suppress(KeyError, OSError):
            Image.new("RGB", (4, 4)).save(buffer, format=kind)
        for raw in (buffer.getvalue(), buffer.getvalue()[:30]):
            with suppress(DataError):
                decode_image(raw, Preprocessing(height=2, width=2, channels=1))


def _limit(limits: Limits) -> None:
    import resource  # noqa: PLC0415  (see above)

    used, statm = 0, Path("/proc/self/statm")
    if statm.exists():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
    for kind, most in (
        # Where the system does not say what is used, it does not keep to this limit either.
        (resource.RLIMIT_AS, used + limits.memory_bytes if used else resource.RLIM_INFINITY),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = (
            most if hard == resource.RLIM_INFINITY else hard if most == resource.RLIM_INFINITY else min(most, hard)
        )
        resource.setrlimit(kind, (allowed, allowed))


def _serve(connection: socket.socket, decode: Callable[..., DecodedImage], image_s: float) -> None:
    import resource  # noqa: PLC0415  (see above)

    request: Request = pickle.loads(_received(connection, LENGTH.unpack(_received(connection, LENGTH.size))[0]))
    contents = [_received(connection, size) for size in request.sizes]
    for content in contents:
        # The kernel ends a process that passes this; counted from its start, in whole seconds.
        most = math.ceil(time.process_time() + image_s)
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        try:
            image = _decoded(decode, content, request)
        except DataError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EMFILE:
                # Something had to be loaded after all; the image is not to blame.
                _answer(connection, FAILED, [repr(error.__cause__)])
            else:
                _answer(connection, REFUSED, [error.message, error.hint, error.reason])
        except Exception as error:  # noqa: BLE001  (the parent raises it)
            _answer(connection, FAILED, [repr(error)])
        else:
            head = ANSWER.pack(DECODED, CHANGES.index(image.colour_change), *(image.resized_from or (0, 0)))
            _send(connection, head, np.ascontiguousarray(image.pixels).data.cast("B"))


def _decoded(decode: Callable[..., DecodedImage], content: bytes, request: Request) -> DecodedImage:
    try:
        return decode(content, request.preprocessing, max_pixels=request.max_pixels)
    except MemoryError as error:
        raise out_of_memory() from error


def _answer(connection: socket.socket, kind: bytes, facts: list[Any]) -> None:
    packed = json.dumps([fact[:1000] if isinstance(fact, str) else fact for fact in facts]).encode()
    _send(connection, ANSWER.pack(kind, 0, len(packed), 0), memoryview(packed))


def _send(connection: socket.socket, head: bytes, body: memoryview) -> None:
    # At once where it fits: each call wakes the parent.
    sent = connection.sendmsg([head, body])
    if sent < len(head):
        connection.sendall(head[sent:])
    connection.sendall(body[max(0, sent - len(head)) :])


def _received(connection: socket.socket, size: int) -> bytes:
    found = bytearray(size)
    view = memoryview(found)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(found)


def _exit_with(parent: int) -> None:
    """A killed parent may leave this process in the middle of an image."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)
