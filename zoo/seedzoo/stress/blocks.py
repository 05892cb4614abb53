"""How a set of images is cut into blocks that are decoded, changed, evaluated and kept one by one.

The cut depends on the set alone, never on workers, so a resumed run finds the blocks of the first one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedzoo.inference.evaluate import block_length
from seedzoo.stress.signature_table import signature_examples

__all__ = ["Block", "blocks"]


@dataclass(frozen=True, eq=False)
class Block:
    """Some images of a set.

    Attributes:
        name: Unique within the set.
        rows: intp ``[b]`` which images, in the order in which they are evaluated.
        signature: Whether the label-free signatures look at these.
    """

    name: str
    rows: NDArray[np.intp]
    signature: bool = False


def blocks(count: int, *, example_bytes: int, anchors: NDArray[np.int64] | None = None) -> list[Block]:
    """Cut a set into blocks of at most 512 images and about 32 MiB decoded.

    The images that the signatures look at come first, in blocks of their own, so that their probabilities need not be
    kept until the last image is evaluated. An anchor's frames are never cut apart, and such sets have no signatures.

    Args:
        count: Images in the set.
        example_bytes: Size of one decoded.
        anchors: int64 ``[count]``, see :class:`seedzoo.stress.evaluation_set.EvaluationSet`.
    """
    length = block_length(example_bytes)
    if anchors is not None:
        order = np.argsort(anchors, kind="stable")
        first = np.flatnonzero(np.r_[True, np.diff(anchors[order]) != 0, True])
        cuts = [0]
        for start, stop in itertools.pairwise(first.tolist()):
            if stop - cuts[-1] > length and start > cuts[-1]:
                cuts.append(start)
        return _named([order[a:b] for a, b in zip(cuts, [*cuts[1:], count], strict=True)], signature=False)
    chosen = signature_examples(count)
    others = np.setdiff1d(np.arange(count), chosen, assume_unique=True)
    return [*_named(_cut(chosen, length), signature=True), *_named(_cut(others, length), signature=False)]


def _cut(rows: NDArray[np.intp], length: int) -> list[NDArray[np.intp]]:
    return [rows[start : start + length] for start in range(0, len(rows), length)]


def _named(parts: list[NDArray[np.intp]], *, signature: bool) -> list[Block]:
    prefix = "s" if signature else "b"
    return [Block(f"{prefix}{number:05d}", rows, signature) for number, rows in enumerate(parts)]
