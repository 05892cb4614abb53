"""Predictions kept between selections: what was evaluated once for the same images is not evaluated again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seedzoo.inference.decode import DecodedImage

__all__ = ["Conversion", "PredictionCache", "PredictionPart", "PredictionStore", "keeps_predictions"]

LIMIT_BYTES = 256 << 20
"""Larger sets of predictions are not kept: reading them back would cost more than it saves."""
_FLUSH_BYTES = 8 << 20
_FLUSH_S = 5.0


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was done to one image on the way in."""

    colour_change: str
    resized_from: tuple[int, int] | None

    @classmethod
    def of(cls, image: DecodedImage) -> Conversion:
        """What was done to this one."""
        return cls(image.colour_change, image.resized_from)


@dataclass(frozen=True, eq=False, slots=True)
class PredictionPart:
    """What some variants say about some examples.

    Attributes:
        rows: int64 ``[k]`` which examples.
        variants: int64 ``[m]`` which variants.
        probabilities: float32 ``[k, m, C]``.
        conversions: What was done to each of the k images.
    """

    rows: NDArray[np.int64]
    variants: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    conversions: Sequence[Conversion]


class PredictionStore(Protocol):
    """Where parts are kept, for one set of examples and one release."""

    def load(self) -> Iterable[PredictionPart]:
        """All parts that are whole."""
        ...

    def save(self, parts: Sequence[PredictionPart]) -> None:
        """Keep these parts too."""
        ...


def keeps_predictions(n_examples: int, n_variants: int, n_classes: int, *, limit: int = LIMIT_BYTES) -> bool:
    """Whether so many predictions are kept between selections."""
    return 4 * n_examples * n_variants * n_classes <= limit


class PredictionCache:
    """Predictions of M variants on n examples, as far as they are known.

    Args:
        n_examples: n.
        n_variants: M.
        n_classes: C.
        store: Keeps them between selections.
        limit: Most bytes that they may take; a larger set is not kept.
    """

    def __init__(
        self, n_examples: int, n_variants: int, n_classes: int, store: PredictionStore, *, limit: int = LIMIT_BYTES
    ) -> None:
        self.keeps = keeps_predictions(n_examples, n_variants, n_classes, limit=limit)
        """Whether anything is kept at all."""
        if not self.keeps:
            return
        self._store = store
        self._known = np.zeros((n_examples, n_variants), dtype=np.bool_)
        self._probabilities = np.zeros((n_examples, n_variants, n_classes), dtype=np.float32)
        self._conversions: list[Conversion | None] = [None] * n_examples
        self._pending: list[PredictionPart] = []
        self._pending_bytes = 0
        self._flushed = time.monotonic()
        for part in store.load():
            if self._fits(part):
                self._take(part)

    def known(self, rows: NDArray[np.int64], variants: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of which examples ``[k]`` all these variants' predictions are known."""
        if not self.keeps:
            return np.zeros(len(rows), dtype=np.bool_)
        return np.asarray(self._known[np.ix_(rows, variants)].all(axis=1))

    def get(self, rows: NDArray[np.int64], variants: NDArray[np.int64]) -> tuple[NDArray[np.float32], list[Conversion]]:
        """Known predictions ``[k, m, C]`` and conversions."""
        conversions = [found for row in rows.tolist() if (found := self._conversions[row]) is not None]
        return self._probabilities[np.ix_(rows, variants)], conversions

    def put(self, part: PredictionPart) -> None:
        """Take in fresh predictions; they are stored now and then."""
        if not self.keeps:
            return
        self._take(part)
        self._pending.append(part)
        self._pending_bytes += part.probabilities.nbytes
        if self._pending_bytes >= _FLUSH_BYTES or time.monotonic() - self._flushed >= _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Store what has not been stored yet."""
        if self.keeps and self._pending:
            self._store.save(self._pending)
            self._pending, self._pending_bytes = [], 0
        self._flushed = time.monotonic()

    def _fits(self, part: PredictionPart) -> bool:
        n, m, c = self._probabilities.shape
        return bool(
            part.probabilities.shape == (len(part.rows), len(part.variants), c)
            and len(part.conversions) == len(part.rows)
            and len(part.rows)
            and len(part.variants)
            and part.rows.min() >= 0
            and part.rows.max() < n
            and part.variants.min() >= 0
            and part.variants.max() < m
        )

    def _take(self, part: PredictionPart) -> None:
        cells = np.ix_(part.rows, part.variants)
        self._probabilities[cells] = part.probabilities
        self._known[cells] = True
        for row, conversion in zip(part.rows.tolist(), part.conversions, strict=True):
            self._conversions[row] = conversion
