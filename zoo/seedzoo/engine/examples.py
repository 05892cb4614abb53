"""A user's examples as the engine sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["Examples", "dependent_groups"]


class Examples(Protocol):
    """n examples, some or all of them labelled, read a few at a time."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each example ``[n]``; -1 for an unlabelled one."""
        ...

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Group of each example ``[n]``: those of one group depend on each other. None where all are independent."""
        ...

    @property
    def digests(self) -> Sequence[str]:
        """SHA-256 of each example's file: equal ones are copies."""
        ...

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each example's file ``[n]``."""
        ...

    @property
    def slices(self) -> Mapping[str, NDArray[np.bool_]]:
        """By each name that a requirement may use, which examples ``[n]`` belong to the slice."""
        ...

    @property
    def slice_columns(self) -> Sequence[str]:
        """What divides the examples into slices."""
        ...

    def slice_numbers(self, column: str) -> NDArray[np.int64]:
        """Number of the slice of this column that each example ``[n]`` belongs to."""
        ...

    def read(self, rows: Sequence[int]) -> list[bytes]:
        """File contents of these examples, in this order."""
        ...


def dependent_groups(digests: Sequence[str], named: NDArray[np.int64] | None) -> tuple[NDArray[np.int64] | None, int]:
    """Groups of examples that depend on each other: those the user named, joined where they share a copied image.

    Args:
        digests: SHA-256 of each of n examples' files.
        named: Group of each example ``[n]``, or None.

    Returns:
        Group of each example ``[n]`` (None where all are independent), and how many examples are copies of others.
    """
    _, same_file = np.unique(np.asarray(digests, dtype=np.bytes_), return_inverse=True)
    copies = len(same_file) - int(same_file.max()) - 1
    if named is None:
        return (same_file.astype(np.int64) if copies else None), copies
    # Groups and files are the nodes of a graph, examples its edges; what hangs together is one group.
    _, groups = np.unique(named, return_inverse=True)
    offset = int(groups.max()) + 1
    nodes = offset + int(same_file.max()) + 1
    edges = coo_array((np.ones(len(groups)), (groups, offset + same_file)), shape=(nodes, nodes))
    _, component = connected_components(edges, directed=False)
    return component[groups].astype(np.int64), copies
