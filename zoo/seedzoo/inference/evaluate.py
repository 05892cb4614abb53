"""Evaluate all variants of a family on the same examples: one session a variant, one thread a core.

A single-threaded session per core beats one session with all cores for models of this size, and threads suffice
because ONNX Runtime lets go of the interpreter while it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seedzoo.cpu import usable_cores
from seedzoo.inference.session import Model

__all__ = ["BlockScores", "Evaluator", "block_length", "softmax"]

_BLOCK_BYTES = 32 << 20
_BLOCK_EXAMPLES = 512


def block_length(example_bytes: int) -> int:
    """How many examples to hold decoded at once: at most 512 and about 32 MiB."""
    return max(1, min(_BLOCK_EXAMPLES, _BLOCK_BYTES // max(1, example_bytes)))


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
            probabilities=probabilities[:0] if keep is None else probabilities[keep],
        )


class Evaluator:
    """Holds the sessions of a family's variants; a context manager.

    Args:
        models: Loader of each variant's model, in the order of the columns; called once, in the pool.
        threads: Worker threads; the usable cores when omitted.
    """

    def __init__(self, models: Sequence[Callable[[], Model]], *, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="seedzoo-evaluate")
        try:
            self._models = list(self._pool.map(lambda load: load(), models))
        except BaseException:
            self._pool.shutdown(cancel_futures=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

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
        """
        models = self._models if variants is None else [self._models[index] for index in variants]
        wanted = np.asarray([] if keep_probabilities is None else keep_probabilities, dtype=np.intp)
        probabilities = self._pool.map(lambda model: softmax(model.logits(images)), models)
        rows = np.arange(len(images))
        predicted = np.empty((len(images), len(models)), dtype=np.int32)
        of_label = np.full((len(images), len(models)), np.nan, dtype=np.float32)
        kept = []
        total: NDArray[np.float64] | None = None
        labelled = labels >= 0
        for column, probability in enumerate(probabilities):
            predicted[:, column] = probability.argmax(axis=1)
            of_label[labelled, column] = probability[rows[labelled], labels[labelled]]
            kept.append(probability[wanted])
            total = probability.astype(np.float64) if total is None else total + probability
        if total is None:
            raise ValueError("no models to evaluate")
        return BlockScores(
            predicted=predicted,
            label_probability=of_label,
            ensemble=total.argmax(axis=1).astype(np.int32),
            probabilities=np.stack(kept, axis=1),
        )
