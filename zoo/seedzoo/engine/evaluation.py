"""Read, decode and evaluate examples block by block, in any order and by any subset of a family's variants."""

from __future__ import annotations

import functools
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seedzoo.catalog.selectable import model_of
from seedzoo.engine.examples import Examples
from seedzoo.engine.predictions import Conversion, PredictionCache, PredictionPart, PredictionStore
from seedzoo.engine.spread_evaluator import Block, OpenEvaluator, StreamEvaluator
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
        self._elsewhere: StreamEvaluator | None = None
        cache = None
        if predictions is not None:
            cache = PredictionCache(len(self._labels), len(family.variants), len(family.task.classes), predictions)
        self._cache = cache if cache is not None and cache.keeps else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for evaluator in (self._own, self._elsewhere):
            if evaluator is not None:
                evaluator.__exit__(kind, error, trace)
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
        length: int | Callable[[int], int] | None = None,
        variants: Callable[[], NDArray[np.intp]] | None = None,
    ) -> Generator[tuple[NDArray[np.int64], BlockScores]]:
        """Evaluate these examples, block after block; the next block is decoded meanwhile.

        Args:
            rows: Which examples, in the order in which they are evaluated.
            keep: bool ``[n examples]``: whose probabilities are kept; None for none.
            length: Examples per block, or of how many one is that begins after so many; as many as memory and speed
                want when omitted.
            variants: Asked before each block: which variants to evaluate, the columns of its scores; all when omitted.

        Yields:
            The rows of a block and its scores.

        Raises:
            ItemsError: Some images cannot be decoded; names all of them by index.
            Cancelled: ``should_stop`` said so.
        """
        faults = _Faults()
        decoded = self._decoded(self._cut(rows, length), keep, variants, faults)
        if variants is None and self._open_evaluator is not None:
            yield from self._streamed(decoded)
        else:
            for one in decoded:
                yield one.block, self._scores(one)
        if faults.found:
            raise faults.error(len(rows))

    def _decoded(
        self,
        blocks: Sequence[NDArray[np.int64]],
        keep: NDArray[np.bool_] | None,
        variants: Callable[[], NDArray[np.intp]] | None,
        faults: _Faults,
    ) -> Iterator[_Decoded]:
        """Blocks that are ready to be evaluated; once an image is found bad, only the other bad ones are found."""
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
                faults.look(found)
                if faults.enough:
                    break
                # Only now, when nothing holds the block before: never more than two are decoded, this and the next.
                after = blocks[number + 1] if number + 1 < len(blocks) else block[:0]
                ahead = self._begin(self._fresh(after, asked))
                if faults.found:
                    continue  # only to name all bad ones at once
                conversions = [Conversion.of(image) for image in decoded.outcomes if isinstance(image, DecodedImage)]
                kept = None if keep is None else np.flatnonzero(keep[block])
                yield _Decoded(block, fresh, decoded.pixels, conversions, asked, kept)
        finally:
            _drop(ahead)

    def unknown(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of these examples on which not all variants' predictions are known from before, in their order."""
        return self._fresh(rows, self._everybody)

    @property
    def provider(self) -> str:
        """What ran the models, as :attr:`seedzoo.inference.evaluate.Evaluator.provider`; empty where none ran."""
        evaluator = self._own or self._elsewhere
        return "" if evaluator is None else evaluator.provider

    def _cut(self, rows: NDArray[np.int64], length: int | Callable[[int], int] | None) -> list[NDArray[np.int64]]:
        shape = self.family.task.preprocessing
        fit = self._own is None or self._own.sessions_fit
        example_bytes = shape.height * shape.width * shape.channels
        longest = length or block_length(example_bytes, sessions_fit=fit, spread=self._own is None)
        longest_at = longest if callable(longest) else lambda _: longest
        # A race looks at what it knows after each block: where blocks end must not depend on this machine's memory.
        most = _BLOCK_FILE_BYTES if fit or length else _LARGE_BLOCK_FILE_BYTES
        return [rows[start:stop] for start, stop in _blocks(self._sizes[rows], longest_at, most)]

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

    def _scores(self, one: _Decoded) -> BlockScores:
        if not one.to_evaluate:
            return self._merged(one, None)
        evaluator = self._own or self._opened()
        labels, wanted = self._labels[one.fresh], self._wanted(one)
        return self._merged(one, evaluator.run(one.pixels, labels, keep_probabilities=wanted, variants=one.asked))

    def _streamed(self, decoded: Iterator[_Decoded]) -> Iterator[tuple[NDArray[np.int64], BlockScores]]:
        """As one after the other, but a block begins as soon as there are workers for it."""
        waiting: deque[_Decoded] = deque()

        def to_evaluate() -> Iterator[Block]:
            for one in decoded:
                waiting.append(replace(one, pixels=one.pixels[:0].copy()))  # a view would keep them all
                if one.to_evaluate:
                    yield Block(one.pixels, self._labels[one.fresh], self._wanted(one), one.asked)

        def known() -> Iterator[tuple[NDArray[np.int64], BlockScores]]:
            while waiting and not waiting[0].to_evaluate:
                one = waiting.popleft()
                yield one.block, self._merged(one, None)

        blocks = to_evaluate()
        first = next(blocks, None)
        if first is not None:  # where all is known, no model is even loaded
            for scores in self._opened().stream(itertools.chain([first], blocks)):
                yield from known()
                one = waiting.popleft()
                yield one.block, self._merged(one, scores)
        yield from known()

    def _wanted(self, one: _Decoded) -> NDArray[np.intp] | None:
        """The probabilities that are asked for: where they are kept for later, all."""
        return one.keep if self._cache is None else np.arange(len(one.fresh))

    def _merged(self, one: _Decoded, found: BlockScores | None) -> BlockScores:
        """Scores of a whole block, from those that were ``found`` and those known from before."""
        if found is not None:
            self.passes += found.predicted.size
        cache, conversions = self._cache, one.conversions
        if cache is not None:
            if found is not None:
                part = PredictionPart(one.fresh, one.asked.astype(np.int64), found.probabilities, conversions)
                cache.put(part)
            probabilities, conversions = cache.get(one.block, one.asked)
            found = BlockScores.of(probabilities, self._labels[one.block], one.keep)
        self.conversions.count(conversions)
        if found is None:
            raise ValueError("a block without examples")
        return found

    def _opened(self) -> StreamEvaluator:
        if self._elsewhere is None:
            if self._open_evaluator is None:
                raise ValueError("there is an evaluator of its own")
            name, members, load = self.family.name, self.family.variants, self._load_model
            files = [(f"{name}/{member.tag}", functools.partial(load, member)) for member in members]
            self._elsewhere = self._open_evaluator(files, should_stop=self._should_stop)
        return self._elsewhere

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
class _Decoded:
    """A block that is ready to be evaluated.

    Attributes:
        block: int64 ``[b]`` its examples.
        fresh: int64 ``[f]`` those of them on which something is not known yet.
        pixels: uint8 ``[f, height, width, channels]``.
        conversions: What was done to them.
        asked: Which variants.
        keep: Positions in the block of the examples whose probabilities are wanted; None for none.
    """

    block: NDArray[np.int64]
    fresh: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    conversions: list[Conversion]
    asked: NDArray[np.intp]
    keep: NDArray[np.intp] | None

    @property
    def to_evaluate(self) -> bool:
        """Whether there is anything to evaluate."""
        return len(self.fresh) > 0


@dataclass
class _Faults:
    """Images that cannot be used: the reason by row."""

    found: dict[int, str] = field(default_factory=dict)
    harmful: int = 0
    complete: bool = True

    def look(self, outcomes: Mapping[int, DecodedImage | DataError | None]) -> None:
        """Note the bad ones among these."""
        bad = {row: image for row, image in outcomes.items() if isinstance(image, DataError)}
        self.found.update({row: error.message for row, error in bad.items()})
        self.harmful += sum(error.reason in (CRASHES, TOO_SLOW) for error in bad.values())
        self.complete = self.harmful < MOST_HARMFUL and all(image is not None for image in outcomes.values())

    @property
    def enough(self) -> bool:
        """Whether to look for no more."""
        return len(self.found) >= _MOST_FAULTS or not self.complete

    def error(self, examples: int) -> ItemsError:
        """What the caller is told."""
        return ItemsError(
            f"{'at least ' if self.enough else ''}{len(self.found)} of {examples} images cannot be used",
            faults=self.found,
            hint="Replace or remove them.",
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


def _blocks(sizes: NDArray[np.int64], length: Callable[[int], int], most: int) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks of at most ``length(start)`` examples and about ``most`` bytes of files."""
    start, held = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (index - start >= length(start) or held + int(size) > most):
            yield start, index
            start, held = index, 0
        held += int(size)
    if len(sizes):
        yield start, len(sizes)
