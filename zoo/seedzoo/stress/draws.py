"""Random numbers that belong to an example, not to a batch.

Each (stream name, example index) pair owns one Philox stream, keyed by a hash of the name and by the index,
so an example gets the same numbers in whatever batch, order or process it is computed. Philox is a
counter-based generator made for such keys (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3").

Only raw 64-bit words are taken from numpy: numpy promises that these never change between versions, and does
not promise it for ``Generator`` methods (NEP 19). A profile must be measurable again years later.
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import TypeVar

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray
from scipy.special import ndtri

__all__ = ["Draws"]

Word = TypeVar("Word", np.uint8, np.uint16, np.uint32)


class Draws:
    """The random streams of a batch of examples; each call continues every example's own stream.

    Args:
        stream: Name of the stream, for instance a condition's name.
        indices: int64 [n], the examples' indices in their dataset, none negative.
    """

    def __init__(self, stream: str, indices: NDArray[np.int64]) -> None:
        self._key = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
        self._indices = indices

    @functools.cached_property
    def _streams(self) -> list[Philox]:
        # Made on first use: half of the conditions draw nothing, and a stream costs as much as a small image.
        return [Philox(key=np.array([self._key, index], dtype=np.uint64)) for index in self._indices.tolist()]

    def words(self, dtype: type[Word], *shape: int) -> NDArray[Word]:
        """Independent random bits, the cheapest numbers that there are.

        Args:
            dtype: Unsigned integer type; 8, 4 or 2 values come out of every 64-bit word, lowest bits first.
            shape: Shape of one example's numbers.

        Returns:
            [n, *shape] of the type.
        """
        size = np.dtype(dtype).itemsize
        count = math.prod(shape)
        words = np.empty((len(self._indices), -(-count * size // 8)), dtype="<u8")
        for row, stream in zip(words, self._streams, strict=True):
            row[:] = stream.random_raw(len(row))
        bits = words.view(np.dtype(dtype).newbyteorder("<"))[:, :count].astype(dtype, copy=False)
        return bits.reshape(len(self._indices), *shape)

    def coarse_uniform(self, *shape: int) -> NDArray[np.float32]:
        """Uniform numbers strictly between 0 and 1 on 65,536 equally likely values, float32 [n, *shape].

        For fields that are made of many numbers, at a quarter of the bits of `uniform`.
        """
        numbers = self.words(np.uint16, *shape).astype(np.float32)
        numbers += np.float32(0.5)
        numbers *= np.float32(2**-16)
        return numbers

    def coarse_normal(self, *shape: int) -> NDArray[np.float32]:
        """Standard normal numbers on 65,536 equally likely values, none beyond 4.3, float32 [n, *shape]."""
        return _normal_values()[self.words(np.uint16, *shape)]

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """Uniform numbers strictly between 0 and 1.

        Args:
            shape: Shape of one example's numbers; none for a single number each.

        Returns:
            float64 [n, *shape].
        """
        count = math.prod(shape)
        words = np.empty((len(self._streams), count), dtype=np.uint64)
        for row, stream in zip(words, self._streams, strict=True):
            row[:] = stream.random_raw(count)
        # 52 bits and half a step: neither 0 nor 1 can come up, where the normal quantile is infinite.
        values = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
        return values.reshape(len(self._streams), *shape)

    def normal(self, *shape: int) -> NDArray[np.float64]:
        """Standard normal numbers, float64 [n, *shape], by inversion: one uniform number each."""
        normal: NDArray[np.float64] = ndtri(self.uniform(*shape))
        return normal

    def sign(self) -> NDArray[np.float64]:
        """-1.0 or 1.0 with equal chance, float64 [n]."""
        return np.where(self.uniform() < 0.5, -1.0, 1.0)


@functools.cache
def _normal_values() -> NDArray[np.float32]:
    """The middle of each of 65,536 equally likely parts of the normal distribution, scaled to variance 1."""
    middle = ndtri((np.arange(1 << 16) + 0.5) / (1 << 16))
    values: NDArray[np.float32] = (middle / middle.std()).astype(np.float32)
    return values
