"""Named random streams: one seed each, so that a recipe says which sources of randomness vary."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

__all__ = ["STREAMS", "stream_seed", "variant_seeds"]

STREAMS = ("init", "head_init", "order", "augment", "dropout")
"""Initial weights, those of the head where it has a stream of its own, order of the examples, augmentation draws,
dropout masks."""


def stream_seed(root: int, stream: str, member: str) -> int:
    """The seed of one stream: the first 63 bits of SHA-256 over ``root/stream/member``.

    A hash, not ``root + i``, so that streams and members are unrelated whatever the root is.
    """
    digest = hashlib.sha256(f"{root}/{stream}/{member}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def variant_seeds(root: int, tag: str, vary: Collection[str], *, streams: Sequence[str] = STREAMS) -> dict[str, int]:
    """Seeds of ``streams`` for one variant; streams not in ``vary`` share one seed across the family."""
    return {stream: stream_seed(root, stream, tag if stream in vary else "shared") for stream in streams}
