"""A part of a block by a group of variants, evaluated in a worker, and how the parts make the scores of the block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seedzoo.inference.evaluate import softmax
from seedzoo.inference.open_models import ModelFile, opened

__all__ = ["PartScores", "SpreadScores", "WorkerSettings", "evaluate_part"]


@dataclass(frozen=True, slots=True, eq=False)
class PartScores:
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
class SpreadScores:
    """The same of all variants and examples; ``keep`` are the ascending positions of the k examples."""

    predicted: NDArray[np.int32]
    of_label: NDArray[np.float32]
    kept: NDArray[np.float32]
    total: NDArray[np.float64]
    keep: NDArray[np.intp]

    @classmethod
    def empty(cls, examples: int, variants: int, classes: int, keep: NDArray[np.intp]) -> Self:
        """Room for all of them."""
        return cls(
            predicted=np.empty((examples, variants), dtype=np.int32),
            of_label=np.empty((examples, variants), dtype=np.float32),
            kept=np.empty((len(keep), variants, classes), dtype=np.float32),
            total=np.zeros((examples, classes)),
            keep=keep,
        )

    def put(self, part: PartScores, examples: range, variants: range) -> None:
        """Place what some variants say about some examples, and add to the sums."""
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


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Of a worker, which keeps open models by itself, over all selections.

    Attributes:
        memory_bytes: What open models of all workers of a machine may take together; half of its memory when None.
    """

    memory_bytes: int | None


def evaluate_part(
    worker: WorkerSettings, block: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.intp]], *given: Any
) -> PartScores:
    """In a worker.

    Args:
        worker: How it is set up.
        block: Images, labels and the positions whose probabilities are wanted, as in ``Block``.
        given: The variants' files, then where in the block to start and stop.
    """
    *files, (start, stop) = given
    images, labels, keep = block
    return _part(
        worker, [*files], images[start:stop], labels[start:stop], keep[(keep >= start) & (keep < stop)] - start
    )


def _part(
    worker: WorkerSettings,
    files: Sequence[ModelFile],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    keep: NDArray[np.intp],
) -> PartScores:
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
    return PartScores(predicted, of_label, np.stack(kept, axis=1), total, frozenset(providers))
