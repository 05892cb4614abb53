"""Evaluate a family's variants by the workers of an executor, in place of this process's threads, bit for bit the same.

A job is a part of a block of decoded examples by a group of variants. The block and each variant's file are shared, so
that each machine gets them once; the files come from whoever reads and verifies them here, so workers need no way to
the store. A race's blocks go one after the other, because after each it decides which variants are still evaluated.
Where everything is evaluated the next block begins as soon as workers are free for it.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from enum import Enum
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from seedzoo.engine.spread_parts import Block, PartScores, Round, WorkerSettings, evaluate_part
from seedzoo.executors import Executor, Job, Setup
from seedzoo.executors.protocol import stopped
from seedzoo.inference.evaluate import BlockScores
from seedzoo.inference.open_models import ModelFile, model_file
from seedzoo.inference.session import default_batch

__all__ = [
    "Block",
    "BlockEvaluator",
    "OpenEvaluator",
    "SpreadEvaluator",
    "StreamEvaluator",
    "cut_block",
    "evaluators_on",
    "jobs_of_block",
]

_JOBS_PER_CORE = 8
"""So many jobs of a block that a slow machine or core does not keep the others waiting for long."""

_JOBS_AHEAD_PER_CORE, _LEAST_JOBS_AHEAD = 4, 32
_BLOCKS_AHEAD, _BYTES_AHEAD = (3, 64), 256 << 20
"""Where the next block begins meanwhile nobody waits, and larger jobs open fewer sessions and cost the driver less. But
an executor takes some jobs ahead, and the blocks that they are of are held: so few, or so many in so many bytes."""

_MOST_JOBS = 4096
"""Of a block: each costs the driver time, which a large cluster would wait for."""
_READ_AT_ONCE = 8


class BlockEvaluator(Protocol):
    """What evaluates blocks: :class:`seedzoo.inference.evaluate.Evaluator`, or something that gives the same."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def provider(self) -> str:
        """See :attr:`seedzoo.inference.evaluate.Evaluator.provider`."""
        ...

    def run(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        keep_probabilities: Sequence[int] | NDArray[np.integer] | None = None,
        variants: Sequence[int] | NDArray[np.integer] | None = None,
    ) -> BlockScores:
        """See :meth:`seedzoo.inference.evaluate.Evaluator.run`."""
        ...


class StreamEvaluator(BlockEvaluator, Protocol):
    """One that may begin the next block before the scores of the last one are there."""

    def stream(self, blocks: Iterable[Block]) -> Iterator[BlockScores]:
        """See :meth:`SpreadEvaluator.stream`."""
        ...


class OpenEvaluator(Protocol):
    """Makes an evaluator of these models: of each its name and what reads its verified file."""

    def __call__(
        self, models: Sequence[tuple[str, Callable[[], bytes]]], *, should_stop: Callable[[], bool]
    ) -> StreamEvaluator:
        """The evaluator; it stops within a block once ``should_stop`` says so."""
        ...


def evaluators_on(
    executor: Executor, *, memory_bytes: int | None = None, on_notice: Callable[[str], None] = lambda _: None
) -> OpenEvaluator:
    """Evaluators that work on an executor.

    Args:
        executor: Local processes, or Ray.
        memory_bytes: What open models of all workers of a machine may take together; half of its memory when None.
        on_notice: Told what a person should know though the work goes on (a worker died).
    """

    def open_evaluator(
        models: Sequence[tuple[str, Callable[[], bytes]]], *, should_stop: Callable[[], bool]
    ) -> StreamEvaluator:
        return SpreadEvaluator(
            models, executor, memory_bytes=memory_bytes, should_stop=should_stop, on_notice=on_notice
        )

    return open_evaluator


def jobs_of_block(cores: int, block_bytes: int, *, ahead: bool) -> int:
    """About how many jobs a block is cut into.

    Args:
        cores: Of all workers.
        block_bytes: Of its images.
        ahead: Whether the next block begins meanwhile.
    """
    if not ahead:
        return min(_MOST_JOBS, _JOBS_PER_CORE * max(1, cores))
    held = min(max(_BLOCKS_AHEAD[0], _BYTES_AHEAD // max(1, block_bytes)), _BLOCKS_AHEAD[1])
    return min(_MOST_JOBS, max(_LEAST_JOBS_AHEAD, math.ceil(_JOBS_AHEAD_PER_CORE * cores / held)))


def cut_block(examples: int, variants: int, *, batch: int, jobs: int) -> tuple[list[range], list[range]]:
    """Cut a block into parts, at the bounds of a session's batches, and its variants into groups.

    Args:
        examples: Of the block.
        variants: That are evaluated on it.
        batch: Examples of one call of a session.
        jobs: Of a part by a group each; about as many come out.
    """
    batches = math.ceil(examples / batch)
    each = max(1, math.ceil(batches * variants / jobs))
    height = min(batches, each) * batch
    width = max(1, each // batches)
    parts = [range(start, min(start + height, examples)) for start in range(0, examples, height)]
    return parts, [range(start, min(start + width, variants)) for start in range(0, variants, width)]


class _State(Enum):
    """Of an evaluator."""

    READY = "ready"
    AT_WORK = "at work on other blocks"
    STOPPED = "without workers"
    CLOSED = "closed"


class SpreadEvaluator:
    """A context manager with the interface of :class:`seedzoo.inference.evaluate.Evaluator`.

    Args:
        models: Of each variant its name and what reads its verified ONNX file, in the order of the columns.
        executor: Whose workers evaluate, on CPU cores.
        memory_bytes: See :func:`evaluators_on`.
        should_stop: Asked again and again, also within a block.
        on_notice: Told what a person should know though the work goes on.

    Raises:
        MissingExtra: The executor's library is not installed.
        Unavailable: Its cluster cannot be reached.
    """

    def __init__(
        self,
        models: Sequence[tuple[str, Callable[[], bytes]]],
        executor: Executor,
        *,
        memory_bytes: int | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._models = models
        self._shared: dict[int, Any] = {}
        self._providers: set[str] = set()
        self._should_stop = should_stop
        self._executor = executor
        self._open = functools.partial(executor.open, setup=Setup(WorkerSettings, (memory_bytes,)), on_notice=on_notice)
        self._exit = ExitStack()
        self._state = _State.READY
        self._workers = self._exit.enter_context(self._open())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(_State.CLOSED, kind, error, trace)

    def _end(
        self,
        state: _State,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the workers; what is shared goes with them."""
        self._state = state
        self._shared.clear()
        self._exit.__exit__(kind, error, trace)

    @property
    def provider(self) -> str:
        """See :attr:`seedzoo.inference.evaluate.Evaluator.provider`."""
        return ", ".join(sorted(self._providers))

    def run(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        keep_probabilities: Sequence[int] | NDArray[np.integer] | None = None,
        variants: Sequence[int] | NDArray[np.integer] | None = None,
    ) -> BlockScores:
        """See :meth:`seedzoo.inference.evaluate.Evaluator.run`.

        Raises:
            Cancelled: ``should_stop`` said so.
            ZooError: A worker died once too often, a model cannot be used, or the cluster was lost.
        """
        (scores,) = self._stream([Block(images, labels, keep_probabilities, variants)], ahead=False)
        return scores

    def stream(self, blocks: Iterable[Block]) -> Iterator[BlockScores]:
        """Evaluate blocks without waiting between them.

        Args:
            blocks: A block is taken when its jobs are about to be handed out: some three large ones are held at once,
                or as many small ones as fill 256 MiB, at most 64.

        Yields:
            The scores of each block, in their order. Whoever leaves before the end stops the workers, as an error does;
            others are started when blocks are evaluated again.

        Raises:
            Cancelled: ``should_stop`` said so.
            ZooError: A worker died once too often, a model cannot be used, or the cluster was lost.
            ValueError: The blocks of another call are not at their end, or the evaluator is closed.
        """
        return self._stream(blocks, ahead=True)

    def _stream(self, blocks: Iterable[Block], *, ahead: bool) -> Iterator[BlockScores]:
        if self._state in (_State.AT_WORK, _State.CLOSED):
            raise ValueError(f"the evaluator is {self._state.value}")
        if self._state is _State.STOPPED:
            self._workers = self._exit.enter_context(self._open())
        self._state = _State.AT_WORK
        waiting: deque[Round] = deque()
        again: deque[Round] = deque()
        at_work: dict[str, tuple[Round, int]] = {}

        def rounds() -> Iterator[Round]:
            for number, block in enumerate(blocks):
                while again:
                    yield again.popleft()
                waiting.append(Round(number, block, self._asked(block)))
                yield waiting[-1]

        def finished(coming: Iterable[Round]) -> Iterator[BlockScores]:
            jobs = (job for one in coming for job in self._jobs(one, at_work, ahead=ahead))
            for done in self._workers.results(jobs, should_stop=self._should_stop):
                one, place = at_work.pop(done.name)
                self._providers |= done.result.providers
                if one.put(place, done.result):
                    again.append(one)
                while waiting and (scores := waiting[0].scores) is not None:
                    waiting.popleft()
                    yield scores

        try:
            yield from finished(rounds())
            if again:
                yield from finished(list(again))
            self._state = _State.READY
        except BaseException as error:
            if self._state is not _State.CLOSED:  # its jobs would mix with those of the next one
                self._end(_State.STOPPED, type(error), error, error.__traceback__)
            raise

    def _asked(self, block: Block) -> list[int]:
        asked = range(len(self._models)) if block.variants is None else [int(index) for index in block.variants]
        if not asked:
            raise ValueError("no models to evaluate")
        return list(asked)

    def _jobs(self, one: Round, at_work: dict[str, tuple[Round, int]], *, ahead: bool) -> Iterator[Job[PartScores]]:
        images = one.block.images
        batch, jobs = default_batch(images[0].nbytes), jobs_of_block(self._executor.cores, images.nbytes, ahead=ahead)
        parts, groups = cut_block(len(images), len(one.asked), batch=batch, jobs=jobs)
        shared = self._workers.share((np.ascontiguousarray(images), one.block.labels, one.keep))
        one.begin([(part, group) for part in parts for group in groups])
        for place, (part, group) in enumerate(one.places):
            name = (
                f"block {one.number}, images {part.start} to {part.stop} by variants {group.start} to {group.stop}"
                f"{'' if one.first is None else ', again'}"
            )
            at_work[name] = one, place
            models = self._models_of(one.asked, group)
            yield Job(name, evaluate_part, ((part.start, part.stop),), shared=(shared, *models))

    def _models_of(self, asked: Sequence[int], group: range) -> list[Any]:
        """The shared files of a group, which are read when a job first needs them, with some of those after them."""
        if any(index not in self._shared for index in asked[group.start : group.stop]):
            missing = list(dict.fromkeys(index for index in asked[group.start :] if index not in self._shared))
            self._share_models(missing[: max(len(group), _READ_AT_ONCE)])
        return [self._shared[index] for index in asked[group.start : group.stop]]

    def _share_models(self, missing: Sequence[int]) -> None:
        with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="seedzoo-models") as pool:
            for start in range(0, len(missing), _READ_AT_ONCE):  # not all: together they may be larger than the memory
                some = missing[start : start + _READ_AT_ONCE]
                if self._should_stop():
                    raise stopped()
                for index, file in zip(some, pool.map(self._read, some), strict=True):
                    self._shared[index] = self._workers.share(file)

    def _read(self, index: int) -> ModelFile:
        name, read = self._models[index]
        return model_file(name, read())
