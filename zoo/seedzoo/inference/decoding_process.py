"""One process that decodes images: how it is started, spoken to and waited for; a part of the pool of them."""

from __future__ import annotations

import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import Cancelled, DataError, LocalFailure
from seedzoo.inference.decode import DecodedImage
from seedzoo.inference.decoding import CRASHES, MOST_HARMFUL, TOO_SLOW, empty_pixels
from seedzoo.inference.decoding_worker import ANSWER, CHANGES, DECODED, FAILED, LENGTH, READY, REFUSED, Request
from seedzoo.records import Preprocessing

__all__ = ["Death", "DeathCause", "DecodingProcess", "Job"]

T = TypeVar("T")

_START_S, _END_S, _LOOK_S, _GRACE_S = 120.0, 5.0, 0.2, 0.5
_WALL_PER_CPU = 4
_MOST_JSON = 1 << 16
_PASSED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TZ")
_ENTRY = """
import sys
from seedzoo.inference.decoding_worker import main
main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
"""


class DeathCause(StrEnum):
    """Why a process ended before its time."""

    CRASHED = "crashed"
    TIME = "time"
    MEMORY = "memory"
    """Killed from outside, which the system does where memory is short."""


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended.

    Attributes:
        message: Of the image that it was at, as its user is told.
        reason: Code.
        certain: Whether no second attempt is needed to blame the image.
        cause: For statistics.
    """

    message: str
    reason: str
    certain: bool
    cause: DeathCause


@dataclass
class Job:
    """One call, worked on by several threads."""

    contents: Sequence[bytes]
    preprocessing: Preprocessing
    max_pixels: int
    should_stop: Callable[[], bool]
    given_up: bool = False
    pixels: NDArray[np.uint8] = field(init=False)
    outcomes: list[DecodedImage | DataError | None] = field(init=False)

    def __post_init__(self) -> None:
        self.pixels = empty_pixels(len(self.contents), self.preprocessing)
        self.outcomes = [None] * len(self.contents)
        self._culprits = 0
        self._lock = threading.Lock()

    def blame(self, index: int, death: Death) -> None:
        """An image is the cause; after a few of them no more are tried."""
        self.outcomes[index] = DataError(death.message, reason=death.reason)
        with self._lock:
            self._culprits += 1
            self.given_up = self.given_up or self._culprits >= MOST_HARMFUL


class _Lost(Exception):
    """The process is gone, or has to go.

    Args:
        slow: Because it took too long.
        strange: Because of what it said.
    """

    def __init__(self, *, slow: bool = False, strange: bool = False) -> None:
        super().__init__()
        self.slow = slow
        self.strange = strange


class DecodingProcess:
    """One worker process and the socket to it."""

    def __init__(self, *, image_s: float, memory_bytes: int, function: str) -> None:
        self._image_s = image_s
        self.batches = 0
        self._socket, theirs = socket.socketpair()
        with theirs:
            arguments = (theirs.fileno(), os.getpid(), function, image_s, memory_bytes)
            try:
                self._process = subprocess.Popen(
                    # -P: a folder that happens to be the present one is no place to load code from.
                    [sys.executable, "-P", "-c", _ENTRY, *map(str, arguments)],
                    pass_fds=(theirs.fileno(),),
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    process_group=0,
                )
            except OSError as error:
                self._socket.close()
                raise _no_start(str(error)) from error
        self._socket.settimeout(_LOOK_S)
        self.pid = self._process.pid

    def await_ready(self, should_stop: Callable[[], bool]) -> None:
        """Wait until it has started. Raises LocalFailure, Cancelled."""
        try:
            patience = _Patience(_START_S, should_stop)
            kind, _, length, _ = self._answer(patience)
            facts = self._facts(length, patience)
        except _Lost as lost:
            raise _no_start("it takes too long" if lost.slow else self._how(lost)) from lost
        if kind != READY:
            raise _no_start(str(facts))

    def decode(self, job: Job, batch: Sequence[int]) -> tuple[int, Death | None]:
        """Decode some of a job's images in order; how many were, and how the process died if it did.

        Raises:
            Cancelled: The job was stopped; the process is of no use any more.
            RuntimeError: A mistake in the decoder.
        """
        self.batches += 1
        contents = [job.contents[index] for index in batch]
        request = Request(job.preprocessing, job.max_pixels, tuple(len(content) for content in contents))
        packed = pickle.dumps(request)
        finished = 0
        patience = _Patience(_WALL_PER_CPU * self._image_s, job.should_stop)
        try:
            for part in (LENGTH.pack(len(packed)), packed, *contents):
                self._send(part, patience)
            for index in batch:
                patience.renew()
                job.outcomes[index] = self._outcome(job, index, patience)
                finished += 1
        except _Lost as lost:
            return finished, self._death(lost)
        return finished, None

    def kill(self) -> None:
        """End it now; may be called from another thread."""
        self._process.kill()

    def end(self) -> None:
        """End it and forget it."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _outcome(self, job: Job, index: int, patience: _Patience) -> DecodedImage | DataError:
        kind, change, width, height = self._answer(patience)
        if kind == DECODED and change < len(CHANGES):
            pixels = job.pixels[index]
            self._fill(memoryview(pixels).cast("B"), patience)
            return DecodedImage(pixels, CHANGES[change], (width, height) if width else None)
        if kind == REFUSED:
            message, hint, reason = _checked(self._facts(width, patience), tuple[str, str, str])
            return DataError(message, hint=hint, reason=reason)
        if kind == FAILED:
            raise RuntimeError(f"the decoder failed: {self._facts(width, patience)!r}")
        raise _Lost(strange=True)

    def _answer(self, patience: _Patience) -> tuple[bytes, int, int, int]:
        head = bytearray(ANSWER.size)
        self._fill(memoryview(head), patience)
        kind, change, first, second = ANSWER.unpack(head)
        return kind, change, first, second

    def _facts(self, length: int, patience: _Patience) -> bytes:
        if length > _MOST_JSON:
            raise _Lost(strange=True)  # nothing of ours says so much
        facts = bytearray(length)
        self._fill(memoryview(facts), patience)
        return bytes(facts)

    def _fill(self, view: memoryview, patience: _Patience) -> None:
        while view:
            for _ in patience:
                with suppress(TimeoutError):
                    count = self._io(self._socket.recv_into, view)
                    break
            if not count:
                raise _Lost
            view = view[count:]

    def _send(self, part: bytes, patience: _Patience) -> None:
        view = memoryview(part)
        while view:
            for _ in patience:
                with suppress(TimeoutError):
                    view = view[self._io(self._socket.send, view) :]
                    break

    @staticmethod
    def _io(action: Callable[[memoryview], int], view: memoryview) -> int:
        try:
            return action(view)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _Lost from error

    def _how(self, lost: _Lost) -> str:
        """How it ended."""
        try:
            code = self._process.wait(0 if lost.strange else _END_S)
        except subprocess.TimeoutExpired:
            return "its answers make no sense"
        return f"killed by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"

    def _death(self, lost: _Lost) -> Death:
        how = "" if lost.slow else self._how(lost)
        if lost.slow or self._process.returncode == -signal.SIGXCPU:
            message = f"decoding it takes more than {self._image_s:g} seconds"
            return Death(message, TOO_SLOW, certain=True, cause=DeathCause.TIME)
        killed = self._process.returncode == -signal.SIGKILL
        memory = ", probably for lack of memory" if killed else ""
        return Death(
            f"decoding it crashes the decoder ({how}{memory})",
            CRASHES,
            certain=False,
            cause=DeathCause.MEMORY if killed else DeathCause.CRASHED,
        )


class _Patience:
    """Iterates as long as an answer may take.

    Args:
        seconds: Until it is too late, from now or from the last :meth:`renew`.
        should_stop: Nobody wants the answer any more; what comes within a moment is waited for.

    Raises:
        _Lost: It is too late.
        Cancelled: See ``should_stop``.
    """

    def __init__(self, seconds: float, should_stop: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._should_stop = should_stop
        self._stop_at = math.inf
        self.renew()

    def renew(self) -> None:
        """Something was answered; whoever wants to stop waits no longer for that."""
        self._end = time.monotonic() + self._seconds

    def __iter__(self) -> Iterator[None]:
        while True:
            now = time.monotonic()
            if self._stop_at == math.inf and self._should_stop():
                self._stop_at = now + _GRACE_S
            if now > self._stop_at:
                raise Cancelled("decoding was stopped")
            if now > self._end:
                raise _Lost(slow=True)
            yield


def _checked(facts: bytes, kind: type[T]) -> T:
    """What a process says, if it says it as it should."""
    try:
        return msgspec.json.decode(facts, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Lost(strange=True) from error


def _environment() -> dict[str, str]:
    """What it takes to run the same Python, and none of the credentials that a server may have in its own."""
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
    }


def _no_start(why: str) -> LocalFailure:
    return LocalFailure(
        f"the process that decodes images does not start: {why}",
        hint="Set decoder_processes to 0 to decode in the server's threads.",
        reason="DECODER_FAILED",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
