"""Evaluate all variants on blocks of images: decoded once, under every condition, one unit of work per thread.

A unit is one block under one condition: a thread changes the pixels, evaluates every variant on them, counts, and lets
go of them. As each thread does all of a unit itself, none waits for another, corruption overlaps with evaluation, and
what is in memory is bounded by the number of threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from seedzoo.cpu import usable_cores
from seedzoo.errors import Cancelled
from seedzoo.inference.session import Model
from seedzoo.inference.sources import ImageSource, Skipped
from seedzoo.stress.blocks import Block

__all__ = ["DecodedBlock", "Run", "VariantModel"]

T = TypeVar("T")
_PART = 32
"""Images that one thread decodes at a time: few enough that all threads share a block."""
_ASK_S = 1.0
"""Seconds between questions whether to stop, where units take longer."""


@dataclass(frozen=True, kw_only=True)
class VariantModel:
    """A variant to evaluate.

    Attributes:
        tag: Its name in the rows.
        sha256: Of its model file.
        read: Reads its model file; called once, in a worker thread or before the file goes to other machines.
        twin: Whether it is the quantised twin of another one, and no member of the family.
    """

    tag: str
    sha256: str
    read: Callable[[], bytes]
    twin: bool = False

    def load(self) -> Model:
        """The model, opened. Raises DataError where it is not usable."""
        return Model(self.read(), name=self.tag)


@dataclass(frozen=True, eq=False)
class DecodedBlock:
    """A block's usable images: uint8 ``[u, height, width, channels]``, their rows ``[u]``, and what is unusable."""

    block: Block
    images: NDArray[np.uint8]
    rows: NDArray[np.intp]
    skipped: tuple[Skipped, ...]


class Run:
    """Threads and the open models of M variants; a context manager.

    Args:
        variants: Whose models to open.
        threads: Worker threads; the usable cores when omitted.
        should_stop: Asked again and again; what is in hand when it says yes is lost, nothing else.
    """

    def __init__(
        self,
        variants: Sequence[VariantModel],
        *,
        threads: int | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.variants = tuple(variants)
        self.members: NDArray[np.bool_] = np.array([not variant.twin for variant in self.variants])
        """bool ``[M]`` which of them are members of the family."""
        self._threads = threads or usable_cores()
        self._should_stop = should_stop
        self._stopping = threading.Event()
        self._exit = contextlib.ExitStack()
        # Corruptions multiply matrices; each of the threads must do so alone.
        self._exit.enter_context(threadpool_limits(limits=1, user_api="blas"))
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="seedzoo-stress")
        try:
            self.models: tuple[Model, ...] = tuple(self._pool.map(lambda variant: variant.load(), self.variants))
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)
        self._exit.close()

    def check(self) -> None:
        """Raise Cancelled where the run ends early: units call this between variants."""
        if self._stopping.is_set():
            raise Cancelled("measuring was stopped; finished blocks are kept")

    def decode(self, source: ImageSource, parts: Sequence[Block], *, skip: bool) -> Callable[[], list[DecodedBlock]]:
        """Begin to decode some blocks.

        Args:
            source: Of the images.
            parts: Which.
            skip: Leave out what cannot be read; without it the first such image is a DataError that names it.

        Returns:
            A call that waits for them.
        """

        def read(rows: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.intp], list[Skipped]]:
            self.check()
            return source.read_usable(rows) if skip else (source.read(rows), rows, [])

        begun = [
            (
                block,
                [self._pool.submit(read, block.rows[at : at + _PART]) for at in range(0, len(block.rows), _PART)],
            )
            for block in parts
        ]

        def finish() -> list[DecodedBlock]:
            decoded = []
            for block, futures in begun:
                found = [future.result() for future in futures]
                decoded.append(
                    DecodedBlock(
                        block,
                        np.concatenate([images for images, _, _ in found]),
                        np.concatenate([rows for _, rows, _ in found]),
                        tuple(skipped for _, _, part in found for skipped in part),
                    )
                )
            return decoded

        return finish

    def work(self, units: Iterator[Callable[[], T]]) -> Iterator[T]:
        """Do units in the threads, a few more in hand than there are threads, and yield their results as they come.

        Args:
            units: Made one by one when there is room for them, in the thread of the caller.

        Raises:
            Cancelled: ``should_stop`` said so.
            ZooError: What a unit raised; the others in hand are given up.
        """
        pending: set[Future[T]] = set()
        ready: deque[Future[T]] = deque()
        more = True
        while more or pending or ready:
            if self._should_stop():
                self._stopping.set()
                self.check()
            while more and len(pending) < 2 * self._threads:
                unit = next(units, None)
                more = unit is not None
                if unit is not None:
                    pending.add(self._pool.submit(unit))
            if pending:
                finished, pending = wait(pending, timeout=_ASK_S, return_when=FIRST_COMPLETED)
                ready.extend(finished)
            while ready:
                yield ready.popleft().result()
