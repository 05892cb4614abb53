"""Decode users' images in processes that may die: one that crashes or hangs is replaced, and its image is to blame.

Own processes and sockets, because the pools of the standard library give up all their work when one process dies, send
pickles back (which a decoder that was taken over could use to run code here), and hand on the whole environment.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from importlib.util import find_spec

from seedzoo.cpu import usable_cores
from seedzoo.errors import Cancelled
from seedzoo.inference.decode import DEFAULT_MAX_PIXELS
from seedzoo.inference.decoding import DecodedBlock
from seedzoo.inference.decoding_process import Death, DecodingProcess, Job
from seedzoo.records import Preprocessing

__all__ = ["DEFAULT_IMAGE_S", "ProcessDecoder", "memory_for", "works_here"]

DEFAULT_IMAGE_S = 20.0
"""Seconds of CPU; the slowest format by far is JPEG 2000, in proportion to the size of the file."""

_BATCH, _BATCH_BYTES = 32, 8 << 20
_BATCHES_PER_PROCESS = 1000
_PIXEL_BYTES, _BASE_BYTES = 48, 512 << 20
_FUNCTION = "seedzoo.inference.decode:decode_image"


def memory_for(max_pixels: int = DEFAULT_MAX_PIXELS) -> int:
    """Bytes that decoding an image of so many pixels may take: 512 MiB, and 48 for a pixel.

    JPEG 2000 with four channels needs the most, four bytes for each of them and more than once; the other formats
    were seen to need at most 32 for a pixel.
    """
    return _BASE_BYTES + _PIXEL_BYTES * max_pixels


def works_here() -> bool:
    """Whether this system can limit what processes use, as POSIX systems can; without that they protect nothing."""
    return find_spec("resource") is not None


class ProcessDecoder:
    """Worker processes, started when they are first needed and shared by all who decode.

    A process that dies or takes too long is replaced. The image that it was at is tried once more, alone in a new
    process, because the cause may have been another one, or come from outside; the second time it is to blame. After
    five such images in one call no more are tried. Processes get neither the environment of this one nor any of its
    files and connections; what limits them is described in :mod:`seedzoo.inference.decoding_worker`.

    Args:
        processes: How many; the usable cores when omitted.
        image_s: Seconds of CPU that one image may take; four times as many by the clock.
        memory_bytes: Memory that a process may use beside what it starts with; see :func:`memory_for`.
        batches: After how many batches of at most 32 images a process is replaced.
        function: What decodes, as ``module:name``; tests put something there that crashes.
        on_death: Told of each process that died or had to be killed over an image; from any thread.
    """

    def __init__(
        self,
        processes: int | None = None,
        *,
        image_s: float = DEFAULT_IMAGE_S,
        memory_bytes: int | None = None,
        batches: int = _BATCHES_PER_PROCESS,
        function: str | None = None,
        on_death: Callable[[Death], None] = lambda _: None,
    ) -> None:
        self._count = processes or usable_cores()
        self._image_s = image_s
        self._memory_bytes = memory_bytes or memory_for()
        self._function = function or _FUNCTION
        self._batches = batches
        self._on_death = on_death
        self._threads = ThreadPoolExecutor(self._count, thread_name_prefix="seedzoo-decode")
        self._idle: queue.LifoQueue[DecodingProcess | None] = queue.LifoQueue()
        for _ in range(self._count):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._alive: set[DecodingProcess] = set()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The processes that are alive."""
        with self._lock:
            return [process.pid for process in self._alive]

    def decode(
        self,
        contents: Sequence[bytes],
        preprocessing: Preprocessing,
        *,
        max_pixels: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> DecodedBlock:
        """See :class:`seedzoo.inference.decoding.Decoder`."""
        job = Job(contents, preprocessing, max_pixels, lambda: self._closed or should_stop())
        with self._lock:
            if self._closed:
                raise Cancelled("the decoder was closed")
            done = [self._threads.submit(self._batch, job, batch) for batch in _cut(contents, self._count)]
        try:
            for each in done:
                each.result()
        except CancelledError as error:  # it never began
            raise Cancelled("the decoder was closed") from error
        except BaseException:
            job.given_up = True
            for each in done:
                each.cancel()
            raise
        return DecodedBlock(job.pixels, tuple(job.outcomes))

    def close(self) -> None:
        """See :class:`seedzoo.inference.decoding.Decoder`."""
        with self._lock:
            self._closed = True
            alive = list(self._alive)
        for process in alive:
            process.kill()  # whoever waits for it hears so at once
        self._threads.shutdown(cancel_futures=True)
        for process in alive:
            self._bury(process)

    def _batch(self, job: Job, left: list[int]) -> None:
        alone = False
        while left and not job.given_up:
            if job.should_stop():
                raise Cancelled("decoding was stopped")
            process = self._take(new=alone)
            kept: DecodingProcess | None = None
            try:
                finished, death = process.decode(job, left[:1] if alone else left)
                if death is None and process.batches < self._batches:
                    kept = process
            finally:
                if kept is None:
                    self._bury(process)
                self._idle.put(kept)
            left = left[finished:]
            if death is not None and not self._closed:
                self._on_death(death)
            if death is None:
                alone = False
            elif alone or death.certain:
                job.blame(left.pop(0), death)
                alone = False
            else:
                alone = True

    def _take(self, *, new: bool) -> DecodingProcess:
        """A process for this thread alone. Raises LocalFailure where none starts, Cancelled after the end."""
        process = self._idle.get()  # there is one for each thread
        try:
            if process is not None and new:
                self._bury(process)
                process = None
            if process is None:
                process = DecodingProcess(
                    image_s=self._image_s, memory_bytes=self._memory_bytes, function=self._function
                )
                with self._lock:
                    if self._closed:
                        raise Cancelled("the decoder was closed")
                    self._alive.add(process)
                process.await_ready(lambda: self._closed)
        except BaseException:
            if process is not None:
                self._bury(process)
            self._idle.put(None)
            raise
        return process

    def _bury(self, process: DecodingProcess) -> None:
        process.end()
        with self._lock:
            self._alive.discard(process)


def _cut(contents: Sequence[bytes], processes: int) -> list[list[int]]:
    """Indices in batches: of at most 32 images and about 8 MiB, and one for each process where there are few."""
    most = max(1, min(_BATCH, math.ceil(len(contents) / processes)))
    batches: list[list[int]] = []
    held = _BATCH_BYTES
    for index, content in enumerate(contents):
        if not batches or len(batches[-1]) >= most or held + len(content) > _BATCH_BYTES:
            batches.append([])
            held = 0
        batches[-1].append(index)
        held += len(content)
    return batches
