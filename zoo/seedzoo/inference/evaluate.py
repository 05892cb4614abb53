"""Evaluate all variants of a family on the same examples: one session a variant, one thread a core.

A single-threaded session per core beats one session with all cores, for the starter's small networks and for
ResNet-50 alike, and threads suffice because ONNX Runtime lets go of the interpreter while it runs. Where there are
fewer variants than cores, or some are left at the end of a block, several threads run parts of the block through the
same session.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seedzoo.cpu import usable_cores
from seedzoo.errors import Cancelled
from seedzoo.inference.calibration import BatchSizes
from seedzoo.inference.session import Model, default_batch
from seedzoo.inference.sessions import Sessions, session_bytes
from seedzoo.inference.settings import InferenceSettings

__all__ = ["BlockScores", "Evaluator", "block_length", "softmax"]

_BLOCK_BYTES = 32 << 20
_BLOCK_EXAMPLES = 512
_LARGER = 4
_PARTS_PER_THREAD = 4
_log = logging.getLogger(__name__)


def block_length(example_bytes: int, *, sessions_fit: bool = True, spread: bool = False) -> int:
    """How many examples to hold decoded at once: at most 512 and about 32 MiB.

    Four times as many where sessions do not all fit into memory, as then most of them are opened anew for each block.
    Where blocks are ``spread`` over workers at most 2,048, in the same 32 MiB: small images make small jobs, each of
    which waits for its worker.
    """
    most = _BLOCK_EXAMPLES * _LARGER if spread else _BLOCK_EXAMPLES
    length = max(1, min(most, _BLOCK_BYTES // max(1, example_bytes)))
    return length if sessions_fit else length * _LARGER


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class BlockScores:
    """What M variants say about b examples.

    Attributes:
        predicted: int32 ``[b, M]`` most probable class.
        label_probability: float32 ``[b, M]`` probability of the true class; NaN for an unlabelled example.
        ensemble: int32 ``[b]`` most probable class of the mean of the variants' probabilities.
        probabilities: float32 ``[k, M, C]`` of the k examples that they were asked for; k is 0 where none were.
    """

    predicted: NDArray[np.int32]
    label_probability: NDArray[np.float32]
    ensemble: NDArray[np.int32]
    probabilities: NDArray[np.float32]

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], labels: NDArray[np.int64], keep: NDArray[np.intp] | None) -> Self:
        """From all probabilities ``[b, M, C]``, of which those of the examples ``keep`` stay."""
        examples, members, _ = probabilities.shape
        of_label = np.full((examples, members), np.nan, dtype=np.float32)
        labelled = np.flatnonzero(labels >= 0)
        of_label[labelled] = probabilities[labelled, :, labels[labelled]]
        return cls(
            predicted=probabilities.argmax(axis=2).astype(np.int32),
            label_probability=of_label,
            ensemble=probabilities.sum(axis=1, dtype=np.float64).argmax(axis=1).astype(np.int32),
            probabilities=probabilities[:0].copy() if keep is None else probabilities[keep],
        )


class Evaluator:
    """Runs a family's variants; a context manager.

    Args:
        models: Opens each variant's model, in the order of the columns; called in the pool when it is first needed,
            and again where its session had to make room for others.
        threads: Worker threads; the usable cores when omitted.
        file_bytes: Size of each model's file, by which memory is reckoned; when omitted all sessions stay open.
        settings: How much memory, and where measured batch sizes are kept.
        architecture: What all variants share and others do not, such as one variant's SHA-256: by it a measured batch
            size is remembered; empty to measure none.
        should_stop: Asked before each batch, from several threads.
    """

    def __init__(
        self,
        models: Sequence[Callable[[], Model]],
        *,
        threads: int | None = None,
        file_bytes: Sequence[int] | None = None,
        settings: InferenceSettings | None = None,
        architecture: str = "",
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        settings = settings or InferenceSettings()
        self._threads = threads or usable_cores()
        costs = [0] * len(models) if file_bytes is None else [session_bytes(size) for size in file_bytes]
        self._sessions = Sessions(models, costs, settings.budget())
        if not self._sessions.fit:
            _log.warning(
                "of %d models about %d may be open at a time in %d MiB; the others are opened anew for each block",
                len(models), self._sessions.room, settings.budget() >> 20,
            )  # fmt: skip
        self._architecture = architecture
        self._sizes = _batch_sizes(settings.cache_folder)
        self._batch: int | None = None
        self._should_stop = should_stop
        self.passes_to_come = 0
        """How many forward passes whoever runs this expects: a hundredth of them may go into finding a batch size."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="seedzoo-evaluate")
        self._left = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._pool.shutdown(cancel_futures=True)
        self._sessions.close()

    @property
    def sessions_fit(self) -> bool:
        """Whether all sessions may stay open."""
        return self._sessions.fit

    @property
    def opened(self) -> int:
        """How many times a session was opened."""
        return self._sessions.opened

    @property
    def provider(self) -> str:
        """What runs the models; says so where it is not what was meant. Empty before the first one is open."""
        return ", ".join(sorted(self._sessions.providers))

    def run(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        keep_probabilities: Sequence[int] | NDArray[np.integer] | None = None,
        variants: Sequence[int] | NDArray[np.integer] | None = None,
    ) -> BlockScores:
        """Evaluate the variants on a block.

        Args:
            images: uint8 ``[b, height, width, channels]``, b >= 1.
            labels: int64 ``[b]``, -1 for an unlabelled example.
            keep_probabilities: Positions ``[k]`` within the block of the examples whose probabilities are returned,
                in this order; none when omitted.
            variants: Which variants to evaluate, the columns of the scores; all when omitted.

        Raises:
            ValueError: There are no models.
            Cancelled: ``should_stop`` said so.
            ZooError: A model cannot be read or opened.
        """
        columns = range(len(self._sessions)) if variants is None else [int(index) for index in variants]
        if not columns:
            raise ValueError("no models to evaluate")
        batch = self._batch_size(images, columns[0])
        wanted = np.asarray([] if keep_probabilities is None else keep_probabilities, dtype=np.intp)
        rows = np.flatnonzero(labels >= 0)
        predicted = np.empty((len(images), len(columns)), dtype=np.int32)
        of_label = np.full((len(images), len(columns)), np.nan, dtype=np.float32)
        kept: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(columns)
        total: NDArray[np.float64] = np.zeros((1, 1))
        early: dict[int, NDArray[np.float32]] = {}
        added = 0
        with self._begun(images, columns, batch) as begun:
            for place, parts in begun:
                probability = np.concatenate([part.result() for part in parts])
                parts.clear()  # or the probabilities of the whole block would be held
                predicted[:, place] = probability.argmax(axis=1)
                of_label[rows, place] = probability[rows, labels[rows]]
                kept[place] = probability[wanted]
                early[place] = probability
                while added in early:  # sums do not depend on which column was ready first
                    total = total + early.pop(added).astype(np.float64)
                    added += 1
        return BlockScores(
            predicted=predicted,
            label_probability=of_label,
            ensemble=total.argmax(axis=1).astype(np.int32),
            probabilities=np.stack(kept, axis=1),
        )

    @contextmanager
    def _begun(
        self, images: NDArray[np.uint8], columns: Sequence[int], batch: int
    ) -> Iterator[Iterator[tuple[int, list[Future[NDArray[np.float32]]]]]]:
        """Places in ``columns`` and the parts of their probabilities, in the order in which they will be there."""
        failed = threading.Event()

        def part(index: int, start: int, stop: int) -> NDArray[np.float32]:
            def stopped() -> bool:
                return failed.is_set() or self._left.is_set() or self._should_stop()

            if stopped():  # before a model is read and opened in vain
                raise Cancelled("the evaluation was stopped")
            with self._sessions.borrow(index) as model:
                return softmax(model.logits(images[start:stop], batch=batch, should_stop=stopped))

        order = range(len(columns)) if self._sessions.fit else self._sessions.in_good_order(columns)
        tasks: list[tuple[int, list[Future[NDArray[np.float32]]]]] = []
        for position, place in enumerate(order):
            length = self._part_length(len(images), len(columns) - position, batch)
            starts = range(0, len(images), length)
            tasks.append((place, [self._pool.submit(part, columns[place], at, at + length) for at in starts]))
        try:
            yield iter(tasks)
        except BaseException:
            failed.set()
            rest = [task for _, parts in tasks for task in parts]
            for task in rest:
                task.cancel()
            wait(rest)
            raise

    def _part_length(self, examples: int, columns_left: int, batch: int) -> int:
        """How many examples a task takes: a whole block, but parts of it in the last columns.

        So threads end together, and no core waits where there are fewer columns than threads.
        """
        if columns_left > 2 * self._threads:
            return examples
        return max(1, -(-examples // (_PARTS_PER_THREAD * self._threads) // batch)) * batch

    def _batch_size(self, images: NDArray[np.uint8], index: int) -> int:
        """The measured batch size, or the usual one where measuring is not worth it."""
        usual = default_batch(images[0].nbytes)
        if not self._architecture:
            return usual
        if self._batch is None:
            with self._sessions.borrow(index) as model:
                self._batch = self._sizes.known(
                    self._architecture, images[0].nbytes, model.provider
                ) or self._sizes.measure(
                    self._architecture, model, images, self.passes_to_come, should_stop=self._should_stop
                )
        return self._batch or usual


@functools.cache
def _batch_sizes(folder: Path | None) -> BatchSizes:
    return BatchSizes(folder)
