"""Read, decode and evaluate examples block by block, in any order and by any subset of a family's variants."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seedzoo.catalog.selectable import model_of
from seedzoo.engine.examples import Examples
from seedzoo.engine.predictions import Conversion, PredictionCache, PredictionPart, PredictionStore
from seedzoo.engine.spread_evaluator import BlockEvaluator, OpenEvaluator
from seedzoo.errors import Cancelled, DataError, ItemsError
from seedzoo.inference.decode import DEFAULT_MAX_PIXELS, DecodedImage
from seedzoo.inference.decoding import CRASHES, MOST_HARMFUL, TOO_SLOW, DecodedBlock, Decoder, ThreadDecoder
from seedzoo.inference.evaluate import BlockScores, Evaluator, block_length
from seedzoo.inference.session import Model
from seedzoo.inference.settings import InferenceSettings
from seedzoo.records import Family, Variant

__all__ = ["Conversions", "FamilyEvaluator"]

_MOST_FAULTS = 1000
_BLOCK_FILE_BYTES, _LARGE_BLOCK_FILE_BYTES = 32 << 20, 128 << 20
_LOOK_S = 0.1


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
        should_stop: Asked before each block, and while images are decoded.
        decoder: Decodes the images, and is not closed here; threads of its own when omitted.
        open_evaluator: Evaluates elsewhere than in threads of this process.
        inference: Hardware and memory for the threads of this process.
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
        decoder: Decoder | None = None,
        open_evaluator: OpenEvaluator | None = None,
        inference: InferenceSettings | None = None,
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
        self._decoder: Decoder = ThreadDecoder() if decoder is None else decoder
        self._owns_decoder = decoder is None
        # One thread: examples are read by one at a time.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="seedzoo-read")
        self._left = threading.Event()
        self._open_evaluator = open_evaluator
        self._own = self._own_evaluator(inference or InferenceSettings()) if open_evaluator is None else None
        self._evaluator: BlockEvaluator | None = self._own
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
        self._left.set()
        self._reader.shutdown(cancel_futures=True)
        if self._owns_decoder:
            self._decoder.close()
        if self._cache is not None:
            self._cache.flush()

    def blocks(
        self,
        rows: NDArray[np.int64],
        *,
        keep: NDArray[np.bool_] | None = None,
        length: int | None = None,
        variants: Callable[[], NDArray[np.intp]] | None = None,
    ) -> Generator[tuple[NDArray[np.int64], BlockScores]]:
        """Evaluate these examples, block after block; the next block is decoded meanwhile.

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
        blocks = self._cut(rows, length)
        faults: dict[int, str] = {}
        harmful, complete = 0, True
        ahead: _Ahead | None = None
        try:
            for number, block in enumerate(blocks):
                if self._should_stop():
                    raise Cancelled("the selection was cancelled")
                asked = self._everybody if variants is None else variants()
                if self._own is not None:
                    self._own.passes_to_come = len(asked) * sum(map(len, blocks[number:]))
                fresh = self._fresh(block, asked)
                if ahead is None or not np.array_equal(ahead.rows, fresh):
                    # Nothing was decoded ahead, or fewer variants are left, of which more is known.
                    _drop(ahead)
                    ahead = self._begin(fresh)
                decoded = self._finished(ahead)
                found = dict(zip(fresh.tolist(), decoded.outcomes, strict=True))
                bad = {row: image for row, image in found.items() if isinstance(image, DataError)}
                faults.update({row: error.message for row, error in bad.items()})
                harmful += sum(error.reason in (CRASHES, TOO_SLOW) for error in bad.values())
                complete = harmful < MOST_HARMFUL and all(image is not None for image in found.values())
                if len(faults) >= _MOST_FAULTS or not complete:
                    break
                # Only now, when nothing holds the block before: never more than two are decoded, this and the next.
                after = blocks[number + 1] if number + 1 < len(blocks) else block[:0]
                ahead = self._begin(self._fresh(after, asked))
                if faults:
                    continue  # only to name all bad ones at once
                kept = None if keep is None else np.flatnonzero(keep[block])
                yield block, self._scores(block, fresh, decoded, asked, kept)
        finally:
            _drop(ahead)
        if faults:
            every = complete and len(faults) < _MOST_FAULTS
            raise ItemsError(
                f"{'' if every else 'at least '}{len(faults)} of {len(rows)} images cannot be used",
                faults=faults,
                hint="Replace or remove them.",
            )

    def unknown(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of these examples on which not all variants' predictions are known from before, in their order."""
        return self._fresh(rows, self._everybody)

    @property
    def provider(self) -> str:
        """What ran the models, as :attr:`seedzoo.inference.evaluate.Evaluator.provider`; empty where none ran."""
        return "" if self._evaluator is None else self._evaluator.provider

    def _cut(self, rows: NDArray[np.int64], length: int | None) -> list[NDArray[np.int64]]:
        shape = self.family.task.preprocessing
        fit = self._own is None or self._own.sessions_fit
        longest = length or block_length(shape.height * shape.width * shape.channels, sessions_fit=fit)
        # A race looks at what it knows after each block: where blocks end must not depend on this machine's memory.
        most = _BLOCK_FILE_BYTES if fit or length else _LARGE_BLOCK_FILE_BYTES
        return [rows[start:stop] for start, stop in _blocks(self._sizes[rows], longest, most)]

    def _fresh(self, block: NDArray[np.int64], asked: NDArray[np.intp]) -> NDArray[np.int64]:
        """The examples of a block that have to be evaluated for these variants."""
        return block if self._cache is None else block[~self._cache.known(block, asked)]

    def _begin(self, rows: NDArray[np.int64]) -> _Ahead:
        """Begin to read and decode these examples."""
        dropped = threading.Event()

        def decoded() -> DecodedBlock:
            return self._decoder.decode(
                self.examples.read(rows.tolist()) if len(rows) else [],
                self.family.task.preprocessing,
                max_pixels=self._max_pixels,
                should_stop=lambda: dropped.is_set() or self._left.is_set(),
            )

        return _Ahead(rows, self._reader.submit(decoded), dropped)

    def _finished(self, ahead: _Ahead) -> DecodedBlock:
        """Wait for what was begun."""
        while not wait([ahead.decoded], timeout=_LOOK_S).done:
            if self._should_stop():
                raise Cancelled("the selection was cancelled")
        return ahead.decoded.result()

    def _scores(
        self,
        block: NDArray[np.int64],
        fresh: NDArray[np.int64],
        decoded: DecodedBlock,
        asked: NDArray[np.intp],
        keep: NDArray[np.intp] | None,
    ) -> BlockScores:
        """Scores of a block of which the ``fresh`` examples have to be evaluated."""
        conversions = [Conversion.of(image) for image in decoded.outcomes if isinstance(image, DecodedImage)]
        cache = self._cache
        if cache is None:
            self.conversions.count(conversions)
            return self._evaluate(decoded.pixels, block, asked, keep)
        if len(fresh):
            found = self._evaluate(decoded.pixels, fresh, asked, np.arange(len(fresh)))
            cache.put(PredictionPart(fresh, asked.astype(np.int64), found.probabilities, conversions))
        probabilities, conversions = cache.get(block, asked)
        self.conversions.count(conversions)
        return BlockScores.of(probabilities, self._labels[block], keep)

    def _evaluate(
        self,
        pixels: NDArray[np.uint8],
        rows: NDArray[np.int64],
        asked: NDArray[np.intp],
        keep: NDArray[np.intp] | None,
    ) -> BlockScores:
        if self._evaluator is None:  # where all is known, no model is even loaded
            self._evaluator = self._opened()
        scores = self._evaluator.run(pixels, self._labels[rows], keep_probabilities=keep, variants=asked)
        self.passes += scores.predicted.size
        return scores

    def _opened(self) -> BlockEvaluator:
        if self._open_evaluator is None:
            raise ValueError("there is an evaluator of its own")
        name, members, load = self.family.name, self.family.variants, self._load_model
        files = [(f"{name}/{member.tag}", functools.partial(load, member)) for member in members]
        return self._open_evaluator(files, should_stop=self._should_stop)

    def _own_evaluator(self, inference: InferenceSettings) -> Evaluator:
        family, load = self.family.name, self._load_model
        files = [(member, model_of(family, member)) for member in self.family.variants]
        return Evaluator(
            [_loader(f"{family}/{member.tag}", functools.partial(load, member), inference) for member, _ in files],
            file_bytes=[file.size for _, file in files],
            settings=inference,
            architecture=files[0][1].sha256,  # its variants differ by nothing but seeds
            should_stop=self._should_stop,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Ahead:
    """Examples that are decoded while others are evaluated.

    Attributes:
        rows: int64 ``[k]`` which.
        decoded: Will hold them.
        dropped: Set when nobody wants them any more.
    """

    rows: NDArray[np.int64]
    decoded: Future[DecodedBlock]
    dropped: threading.Event


def _drop(ahead: _Ahead | None) -> None:
    if ahead is not None:
        ahead.dropped.set()
        ahead.decoded.cancel()


def _loader(name: str, load: Callable[[], bytes], inference: InferenceSettings) -> Callable[[], Model]:
    return lambda: Model(load(), name=name, provider=inference.provider)


def _blocks(sizes: NDArray[np.int64], length: int, most: int) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks of at most ``length`` examples and about ``most`` bytes of files."""
    start, held = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (index - start >= length or held + int(size) > most):
            yield start, index
            start, held = index, 0
        held += int(size)
    if len(sizes):
        yield start, len(sizes)
