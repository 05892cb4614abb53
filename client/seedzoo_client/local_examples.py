"""A user's images on this machine as the engine takes them: read a few at a time, when they are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seedzoo.engine.slices import check_slice_columns, group_numbers, slice_masks
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.fingerprint import HashedItem, item_bytes

__all__ = ["LocalExamples"]


class LocalExamples:
    """See :class:`seedzoo.engine.Examples`.

    Args:
        dataset: The images and what the user says of them.
        items: The same images, hashed.

    Raises:
        RequestError: Slices that cannot be told apart by name.
    """

    def __init__(self, dataset: LocalDataset, items: Sequence[HashedItem]) -> None:
        check_slice_columns(dataset.slice_columns)
        self._dataset = dataset
        self._items = items
        self.labels: NDArray[np.int64] = np.array(
            [-1 if item.label is None else item.label for item in items], dtype=np.int64
        )
        self.groups = group_numbers(
            np.array([-1 if item.group is None else item.group for item in items], dtype=np.int64)
        )
        self.digests = [item.sha256.hex() for item in items]
        self.sizes: NDArray[np.int64] = np.array([item.size for item in items], dtype=np.int64)

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """What divides the examples into slices."""
        return tuple(column.name for column in self._dataset.slice_columns)

    def slice_numbers(self, column: str) -> NDArray[np.int64]:
        """Number of each example's slice int64 ``[n]``. Raises ValueError for a column that is not there."""
        position = self.slice_columns.index(column)
        return np.array([item.slices[position] for item in self._items], dtype=np.int64)

    @property
    def slices(self) -> Mapping[str, NDArray[np.bool_]]:
        """See :func:`seedzoo.engine.slices.slice_masks`."""
        dataset = self._dataset
        return slice_masks(dataset.slice_columns, self.slice_numbers, self.labels, dataset.classes)

    def read(self, rows: Sequence[int]) -> list[bytes]:
        """Contents of these examples, in this order.

        Raises:
            DataError: A file cannot be read, or is not what was hashed; names it.
        """
        return [item_bytes(self._items[row], doing="evaluated") for row in rows]
