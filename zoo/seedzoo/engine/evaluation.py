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

    def count(self, images: Sequence[DecodedImage]) -> None:
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
        should_stop: Asked before each block.
    """

    def __init__(
        self,
        *,
        family: Family,
        load_model: Callable[[Variant], bytes],
        examples: Examples,
        max_pixels: int = DEFAULT_MAX_PIXELS,
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
        self._decoders = ThreadPoolExecutor(usable_cores(), thread_name_prefix="seedzoo-decode")
        try:
            self._evaluator = Evaluator([_loader(family.name, variant, load_model) for variant in family.variants])
        except BaseException:
            self._decoders.shutdown(cancel_futures=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._evaluator.__exit__(kind, error, trace)
        self._decoders.shutdown(cancel_futures=True)

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
        for block, images in self._decoded(rows, length):
            scores = self._evaluator.run(
                images,
                self._labels[block],
                keep_probabilities=None if keep is None else np.flatnonzero(keep[block]),
                variants=None if variants is None else variants(),
            )
            self.passes += scores.predicted.size
            yield block, scores

    def _decoded(
        self, rows: NDArray[np.int64], length: int | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Decode block after block. After the first bad image only decode on, to name all bad ones at once."""
        shape = self.family.task.preprocessing
        longest = length or block_length(shape.height * shape.width * shape.channels)
        faults: dict[int, str] = {}

        def decode(raw: bytes) -> DecodedImage | DataError:
            try:
                return decode_image(raw, shape, max_pixels=self._max_pixels)
            except DataError as error:
                return error

        for start, stop in _blocks(self._sizes[rows], longest):
            if self._should_stop():
                raise Cancelled("the selection was cancelled")
            block = rows[start:stop]
            decoded = list(self._decoders.map(decode, self.examples.read([int(row) for row in block])))
            faults.update(
                {
                    int(row): found.message
                    for row, found in zip(block, decoded, strict=True)
                    if isinstance(found, DataError)
                }
            )
            if len(faults) >= _MOST_FAULTS:
                break
            if faults:
                continue
            images = [found for found in decoded if isinstance(found, DecodedImage)]
            self.conversions.count(images)
            yield block, np.stack([image.pixels for image in images])
        if faults:
            count = f"{len(faults)}" if len(faults) < _MOST_FAULTS else f"at least {len(faults)}"
            raise ItemsError(
                f"{count} of {len(rows)} images cannot be used", faults=faults, hint="Replace or remove them."
            )


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
