"""What tests let worker processes decode with: real crashes, hangs and hunger, for images that ask for them."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np

from seedzoo.inference.decode import DecodedImage, decode_image
from seedzoo.inference.decoding_worker import ANSWER
from seedzoo.records import Preprocessing

_calls = [0]


def troubled(raw: bytes, preprocessing: Preprocessing, *, max_pixels: int) -> DecodedImage:
    """Decode, but do as the file says where it is an order."""
    _calls[0] += 1
    if raw == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif raw == b"crash later" and _calls[0] > 1:
        os.kill(os.getpid(), signal.SIGSEGV)  # another image has done the damage
    elif raw == b"killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif raw == b"leave":
        os._exit(3)
    elif raw == b"loop":
        while True:
            pass
    elif raw == b"sleep":
        time.sleep(3600)
    elif raw == b"eat":
        return answered(len(bytes(4 << 30)))
    elif raw == b"eat all":
        kept = []
        while True:
            try:
                kept.append(bytearray(1 << 20))
            except MemoryError:
                os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where no limit stops it
    elif raw == b"fail":
        raise ZeroDivisionError("a mistake of ours")
    elif raw == b"pid":
        return answered(os.getpid())
    elif raw == b"look":
        return answered(_what_can_be_reached())
    elif raw == b"lie":
        _write_to_parent(ANSWER.pack(b"e", 0, 1 << 30, 0))
    elif raw == b"talk nonsense":
        _write_to_parent(ANSWER.pack(b"e", 0, 9, 0) + b"[1, 2, 3]")
    elif raw == b"say the unheard of":
        _write_to_parent(ANSWER.pack(b"d", 77, 1, 1))
    return decode_image(raw, preprocessing, max_pixels=max_pixels)


def answered(number: int) -> DecodedImage:
    """An image that carries a number where its width should be."""
    return DecodedImage(np.zeros((28, 28, 1), dtype=np.uint8), "", (number, 1))


def _what_can_be_reached() -> int:
    """Bit 1: files, 2: the network, 4: something secret, 8: processes (root may always)."""
    found = 0
    for bit, action in ((1, lambda: Path("/etc/hostname").read_bytes()), (2, lambda: socket.socket().close())):
        try:
            action()
        except OSError:
            continue
        found |= bit
    secret = any(name.startswith(("AWS_", "SEEDZOO_")) for name in os.environ)
    return found | (4 if secret else 0)


def _write_to_parent(raw: bytes) -> None:
    connections: list[Any] = [descriptor for descriptor in range(3, 64) if _is_socket(descriptor)]
    os.write(connections[0], raw)


def _is_socket(descriptor: int) -> bool:
    try:
        return os.fstat(descriptor).st_mode & 0o170000 == 0o140000
    except OSError:
        return False
