"""Evaluate a family's variants by the workers of an executor, in place of this process's threads, bit for bit the same.

A job is a part of a block of decoded examples by a group of variants. The block and each variant's file are shared, so
that each machine gets them once; the files come from whoever reads and verifies them here, so workers need no way to
the store. Blocks go one after the other, because a race decides after each which variants are still evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from seedzoo.executors import Executor, Job, Setup
from seedzoo.executors.protocol import stopped
from seedzoo.inference.evaluate import BlockScores, softmax
from seedzoo.inference.open_models import ModelFile, model_file, opened
from seedzoo.inference.session import default_batch

__all__ = ["BlockEvaluator", "OpenEvaluator", "SpreadEvaluator", "evaluators_on"]

_JOBS_PER_CORE = 8
"""So many jobs of a block that a slow machine or core does not keep the others waiting for long."""

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


class OpenEvaluator(Protocol):
    """Makes an evaluator of these models: of each its name and what reads its verified file."""

    def __call__(
        self, models: Sequence[tuple[str, Callable[[], bytes]]], *, should_stop: Callable[[], bool]
    ) -> BlockEvaluator:
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
    ) -> BlockEvaluator:
        return SpreadEvaluator(
            models, executor, memory_bytes=memory_bytes, should_stop=should_stop, on_notice=on_notice
        )

    return open_evaluator


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
        self._exit = ExitStack()
        self._workers = self._exit.enter_context(
            executor.open(setup=Setup(_Worker, (memory_bytes,)), on_notice=on_notice)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        asked = list(range(len(self._models))) if variants is None else [int(index) for index in variants]
        if not asked:
            raise ValueError("no models to evaluate")
        wanted = np.asarray([] if keep_probabilities is None else keep_probabilities, dtype=np.intp)
        found = self._spread(images, labels, asked, np.unique(wanted))
        ensemble = found.total.argmax(axis=1).astype(np.int32)
        # The sums of groups are added in another order than one variant after the other. Where that could make
        # another class the first, they are added in that order, from the probabilities.
        unsure = np.flatnonzero(found.unsure(len(asked)))
        if len(unsure):
            at = found.places(unsure)
            known = at >= 0
            more = found
            if not known.all():
                more = self._spread(images, labels, asked, unsure)
                at = more.places(unsure)
            total = np.zeros((len(unsure), found.total.shape[1]))
            for column in range(len(asked)):
                total += more.kept[at, column]
            ensemble[unsure] = total.argmax(axis=1)
        return BlockScores(
            predicted=found.predicted,
            label_probability=found.of_label,
            ensemble=ensemble,
            probabilities=found.kept[found.places(wanted)],
        )

    def _spread(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], asked: Sequence[int], keep: NDArray[np.intp]
    ) -> _Found:
        parts, groups = self._cut(len(images), len(asked), default_batch(images[0].nbytes))
        self._share_models(asked)
        block = self._workers.share((np.ascontiguousarray(images), labels, keep))
        jobs = [
            Job(
                f"images {part.start} to {part.stop} by variants {group.start} to {group.stop}",
                _evaluate,
                ((part.start, part.stop),),
                shared=(block, *(self._shared[asked[column]] for column in group)),
            )
            for part in parts
            for group in groups
        ]
        places = {job.name: (part, group) for job, (part, group) in zip(jobs, _pairs(parts, groups), strict=True)}
        done = {
            finished.name: finished.result for finished in self._workers.results(jobs, should_stop=self._should_stop)
        }
        classes = next(iter(done.values())).total.shape[1]
        found = _Found.empty(len(images), len(asked), classes, keep)
        for job in jobs:  # in this order, so that sums do not depend on which job was faster
            part, group = places[job.name]
            found.put(done[job.name], part, group)
            self._providers |= done[job.name].providers
        return found

    def _cut(self, examples: int, variants: int, batch: int) -> tuple[list[range], list[range]]:
        """Parts of the block, at the bounds of a session's batches, and groups of variants."""
        batches = math.ceil(examples / batch)
        jobs = min(_MOST_JOBS, _JOBS_PER_CORE * max(1, self._executor.cores))
        each = max(1, math.ceil(batches * variants / jobs))
        height = min(batches, each) * batch
        width = max(1, each // batches)
        parts = [range(start, min(start + height, examples)) for start in range(0, examples, height)]
        return parts, [range(start, min(start + width, variants)) for start in range(0, variants, width)]

    def _share_models(self, asked: Sequence[int]) -> None:
        missing = [index for index in asked if index not in self._shared]
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


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What g variants say about p examples.

    Attributes:
        predicted: int32 ``[p, g]``.
        of_label: float32 ``[p, g]``.
        kept: float32 ``[k, g, C]`` of the examples among them whose probabilities are wanted.
        total: float64 ``[p, C]`` sum of the variants' probabilities.
        providers: What ran them.
    """

    predicted: NDArray[np.int32]
    of_label: NDArray[np.float32]
    kept: NDArray[np.float32]
    total: NDArray[np.float64]
    providers: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The same of all variants and examples; ``keep`` are the ascending positions of the k examples."""

    predicted: NDArray[np.int32]
    of_label: NDArray[np.float32]
    kept: NDArray[np.float32]
    total: NDArray[np.float64]
    keep: NDArray[np.intp]

    @classmethod
    def empty(cls, examples: int, variants: int, classes: int, keep: NDArray[np.intp]) -> Self:
        return cls(
            predicted=np.empty((examples, variants), dtype=np.int32),
            of_label=np.empty((examples, variants), dtype=np.float32),
            kept=np.empty((len(keep), variants, classes), dtype=np.float32),
            total=np.zeros((examples, classes)),
            keep=keep,
        )

    def put(self, part: _Part, examples: range, variants: range) -> None:
        rows, columns = slice(examples.start, examples.stop), slice(variants.start, variants.stop)
        self.predicted[rows, columns] = part.predicted
        self.of_label[rows, columns] = part.of_label
        self.kept[slice(*np.searchsorted(self.keep, (examples.start, examples.stop))), columns] = part.kept
        self.total[rows] += part.total

    def places(self, positions: NDArray[np.intp]) -> NDArray[np.intp]:
        """Where among the kept ones these examples are; -1 for one that is not."""
        at = np.searchsorted(self.keep, positions)
        inside = at < len(self.keep)
        inside[inside] = self.keep[at[inside]] == positions[inside]
        return np.where(inside, at, -1)

    def unsure(self, variants: int) -> NDArray[np.bool_]:
        """Whether the two largest sums are so near to each other that the order of adding may decide."""
        top = np.partition(self.total, -2, axis=1)[:, -2:] if self.total.shape[1] > 1 else None
        if top is None or variants == 1:
            return np.zeros(len(self.total), dtype=np.bool_)
        # Adding M numbers of at most 1 in any order is off by less than M^2 roundings.
        return np.asarray(top[:, 1] - top[:, 0] <= 4.0 * variants**2 * np.finfo(np.float64).eps)


def _pairs(parts: Sequence[range], groups: Sequence[range]) -> Iterator[tuple[range, range]]:
    return ((part, group) for part in parts for group in groups)


@dataclass(frozen=True, slots=True)
class _Worker:
    """In a worker, which keeps open models by itself, over all selections."""

    memory_bytes: int | None


def _evaluate(
    worker: _Worker, block: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.intp]], *given: Any
) -> _Part:
    """In a worker."""
    *files, (start, stop) = given
    images, labels, keep = block
    return _part(
        worker, [*files], images[start:stop], labels[start:stop], keep[(keep >= start) & (keep < stop)] - start
    )


def _part(
    worker: _Worker,
    files: Sequence[ModelFile],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    keep: NDArray[np.intp],
) -> _Part:
    rows = np.flatnonzero(labels >= 0)
    predicted = np.empty((len(images), len(files)), dtype=np.int32)
    of_label = np.full((len(images), len(files)), np.nan, dtype=np.float32)
    kept, total, providers = [], np.zeros((1, 1)), set()
    for column, file in enumerate(files):
        model = opened(file, memory_bytes=worker.memory_bytes)
        providers.add(model.provider)
        probabilities = softmax(model.logits(images))
        predicted[:, column] = probabilities.argmax(axis=1)
        of_label[rows, column] = probabilities[rows, labels[rows]]
        kept.append(probabilities[keep])
        total = total + probabilities.astype(np.float64)
    return _Part(predicted, of_label, np.stack(kept, axis=1), total, frozenset(providers))
