"""A part of a block by a group of variants, evaluated in a worker, and how the parts make the scores of the block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seedzoo.inference.evaluate import BlockScores, softmax
from seedzoo.inference.open_models import ModelFile, opened

__all__ = ["Block", "PartScores", "Round", "SpreadScores", "WorkerSettings", "evaluate_part"]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The arguments of :meth:`seedzoo.engine.spread_evaluator.SpreadEvaluator.run`.

    Attributes:
        images: uint8 ``[b, height, width, channels]``, b >= 1.
        labels: int64 ``[b]``, -1 for an unlabelled example.
        keep_probabilities: Positions ``[k]`` of the examples whose probabilities are wanted; None for none.
        variants: Which variants; None for all.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    keep_probabilities: Sequence[int] | NDArray[np.integer] | None = None
    variants: Sequence[int] | NDArray[np.integer] | None = None


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


@dataclass(eq=False)
class Round:
    """A block at work.

    Attributes:
        number: Of the block.
        block: What is evaluated.
        asked: Numbers of the variants.
        keep: Ascending positions ``[k]`` of the examples whose probabilities workers send.
        places: Of each job its examples and variants.
        parts: What the jobs found.
        first: What was found when it turned out that more probabilities are needed.
        scores: In the end.
    """

    number: int
    block: Block
    asked: list[int]
    keep: NDArray[np.intp] = field(init=False)
    places: list[tuple[range, range]] = field(default_factory=list)
    parts: dict[int, PartScores] = field(default_factory=dict)
    first: SpreadScores | None = None
    scores: BlockScores | None = None

    def __post_init__(self) -> None:
        self.keep = np.unique(self._wanted)

    @property
    def _wanted(self) -> NDArray[np.intp]:
        wanted = self.block.keep_probabilities
        return np.asarray([] if wanted is None else wanted, dtype=np.intp)

    def begin(self, places: list[tuple[range, range]]) -> None:
        """Expect one part for each of these places."""
        self.places, self.parts = places, {}

    def put(self, place: int, part: PartScores) -> bool:
        """Take what a job found; True where the block has to be evaluated again, with more probabilities."""
        self.parts[place] = part
        if len(self.parts) < len(self.places):
            return False
        found = SpreadScores.empty(len(self.block.images), len(self.asked), part.total.shape[1], self.keep)
        for at, (examples, variants) in enumerate(self.places):  # so that sums do not depend on which job was faster
            found.put(self.parts[at], examples, variants)
        self.parts = {}
        return self._ended(found)

    def _ended(self, found: SpreadScores) -> bool:
        # The sums of groups are added in another order than one variant after the other. Where that could make
        # another class the first, they are added in that order, from the probabilities.
        first = self.first or found
        unsure = np.flatnonzero(first.unsure(len(self.asked)))
        at = found.places(unsure)
        if (at < 0).any():
            self.first, self.keep = found, unsure.astype(np.intp)
            return True
        total = np.zeros((len(unsure), found.total.shape[1]))
        for column in range(len(self.asked)):
            total += found.kept[at, column]
        ensemble = first.total.argmax(axis=1).astype(np.int32)
        ensemble[unsure] = total.argmax(axis=1)
        self.block = replace(self.block, images=self.block.images[:0].copy())  # it may wait for a slower one
        self.scores = BlockScores(
            predicted=first.predicted,
            label_probability=first.of_label,
            ensemble=ensemble,
            probabilities=first.kept[first.places(self._wanted)],
        )
        self.first = None
        return False


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
