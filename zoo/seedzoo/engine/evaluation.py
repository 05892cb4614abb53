"""Read, decode and evaluate examples block by block, in any order and by any subset of a family's variants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seedzoo.cpu import usable_cores
from seedzoo.engine.examples import Examples
from seedzoo.engine.predictions import Conversion, PredictionCache, PredictionPart, PredictionStore
from seedzoo.errors import Cancelled, DataError, ItemsError
from seedzoo.inference.decode import DEFAULT_MAX_PIXELS, DecodedImage, decode_image
from seedzoo.inference.evaluate import BlockScores, Evaluator, block_length
from seedzoo.inference.session import Model
from seedzoo.records import Family, Variant

__all__ = ["Conversions", "FamilyEvaluator"]

_MOST_FAULTS = 1000
_BLOCK_FILE_BYTES = 32 << 20


@dataclass
class Conversions:
    """What was done to the images on the way in, counted."""

    colour_changes: Counter[str] = field(default_factory=Counter)
    resized_from: Counter[tuple[int, int]] = field(default_factory=Counter)

    def count(self, images: Sequence[Conversion]) -> None:
        """Count these images too."""
        self.colour_changes.update(Counter(image.colour_change for image in images if image.colour_change))
        self.resized_from.update(Counter(image.resized_from for image in images if image.resized_from is not None))


class FamilyEvaluator:
    """The variants of a family with their sessions, and a user's examples; a context manager.

    Args:
        family: Whose variants.
        load_model: Reads and verifies a variant's ONNX file.
        examples: The user's data.
        max_pixels: Largest image that is decoded.
        predictions: Keeps predictions between selections; None to evaluate everything anew.
        should_stop: Asked before each block.
    """

    def __init__(
        self,
        *,
        family: Family,
        load_model: Callable[[Variant], bytes],
        examples: Examples,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        predictions: PredictionStore | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.family = family
        self.examples = examples
        self.conversions = Conversions()
        self.passes = 0
        """Forward passes so far."""
        self._labels = examples.labels
        self._sizes = examples.sizes
        self._max_pixels = max_pixels
        self._should_stop = should_stop
        self._load_model = load_model
        self._everybody = np.arange(len(family.variants))
        self._decoders = ThreadPoolExecutor(usable_cores(), thread_name_prefix="seedzoo-decode")
        self._evaluator: Evaluator | None = None
        cache = None
        if predictions is not None:
            cache = PredictionCache(len(self._labels), len(family.variants), len(family.task.classes), predictions)
        self._cache = cache if cache is not None and cache.keeps else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._evaluator is not None:
            self._evaluator.__exit__(kind, error, trace)
        self._decoders.shutdown(cancel_futures=True)
        if self._cache is not None:
            self._cache.flush()

    def blocks(
        self,
        rows: NDArray[np.int64],
        *,
        keep: NDArray[np.bool_] | None = None,
        length: int | None = None,
        variants: Callable[[], NDArray[np.intp]] | None = None,
    ) -> Iterator[tuple[NDArray[np.int64], BlockScores]]:
        """Evaluate these examples, block after block.

        Args:
            rows: Which examples, in the order in which they are evaluated.
            keep: bool ``[n examples]``: whose probabilities are kept; None for none.
            length: Examples per block; as many as memory and speed want when omitted.
            variants: Asked before each block: which variants to evaluate, the columns of its scores; all when omitted.

        Yields:
            The rows of a block and its scores.

        Raises:
            ItemsError: Some images cannot be decoded; names all of them by index.
            Cancelled: ``should_stop`` said so.
        """
        shape = self.family.task.preprocessing
        faults: dict[int, str] = {}
        for start, stop in _blocks(
            self._sizes[rows], length or block_length(shape.height * shape.width * shape.channels)
        ):
            if self._should_stop():
                raise Cancelled("the selection was cancelled")
            block = rows[start:stop]
            asked = self._everybody if variants is None else variants()
            fresh = block if self._cache is None else block[~self._cache.known(block, asked)]
            images = self._decoded(fresh, faults)
            if len(faults) >= _MOST_FAULTS:
                break
            if faults:
                continue  # only to name all bad ones at once
            kept = None if keep is None else np.flatnonzero(keep[block])
            yield block, self._scores(block, fresh, images, asked, kept)
        if faults:
            count = f"{len(faults)}" if len(faults) < _MOST_FAULTS else f"at least {len(faults)}"
            raise ItemsError(
                f"{count} of {len(rows)} images cannot be used", faults=faults, hint="Replace or remove them."
            )

    def _scores(
        self,
        block: NDArray[np.int64],
        fresh: NDArray[np.int64],
        images: Sequence[DecodedImage],
        asked: NDArray[np.intp],
        keep: NDArray[np.intp] | None,
    ) -> BlockScores:
        """Scores of a block of which the ``fresh`` examples have to be evaluated."""
        conversions = [Conversion.of(image) for image in images]
        cache = self._cache
        if cache is None:
            self.conversions.count(conversions)
            return self._evaluate(images, block, asked, keep)
        if images:
            found = self._evaluate(images, fresh, asked, np.arange(len(fresh)))
            cache.put(PredictionPart(fresh, asked.astype(np.int64), found.probabilities, conversions))
        probabilities, conversions = cache.get(block, asked)
        self.conversions.count(conversions)
        return BlockScores.of(probabilities, self._labels[block], keep)

    def _evaluate(
        self,
        images: Sequence[DecodedImage],
        rows: NDArray[np.int64],
        asked: NDArray[np.intp],
        keep: NDArray[np.intp] | None,
    ) -> BlockScores:
        if self._evaluator is None:  # where all is known, no model is even loaded
            members = self.family.variants
            self._evaluator = Evaluator([_loader(self.family.name, member, self._load_model) for member in members])
        pixels = np.stack([image.pixels for image in images])
        scores = self._evaluator.run(pixels, self._labels[rows], keep_probabilities=keep, variants=asked)
        self.passes += scores.predicted.size
        return scores

    def _decoded(self, rows: NDArray[np.int64], faults: dict[int, str]) -> list[DecodedImage]:
        """Decode these examples; those that cannot be decoded go into ``faults``, and what is left is incomplete."""

        def decode(raw: bytes) -> DecodedImage | DataError:
            try:
                return decode_image(raw, self.family.task.preprocessing, max_pixels=self._max_pixels)
            except DataError as error:
                return error

        decoded = list(self._decoders.map(decode, self.examples.read(rows.tolist())))
        faults.update(
            {
                row: found.message
                for row, found in zip(rows.tolist(), decoded, strict=True)
                if isinstance(found, DataError)
            }
        )
        return [found for found in decoded if isinstance(found, DecodedImage)]


def _loader(family: str, variant: Variant, load_model: Callable[[Variant], bytes]) -> Callable[[], Model]:
    return lambda: Model(load_model(variant), name=f"{family}/{variant.tag}")


def _blocks(sizes: NDArray[np.int64], length: int) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks of at most ``length`` examples and about 32 MiB of files."""
    start, held = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (index - start >= length or held + int(size) > _BLOCK_FILE_BYTES):
            yield start, index
            start, held = index, 0
        held += int(size)
    if len(sizes):
        yield start, len(sizes)
