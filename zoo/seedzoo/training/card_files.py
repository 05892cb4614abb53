"""The model cards of a bundle as files: one for the family and one for every variant that has a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seedzoo.catalog.bundle import FAMILY_CARD, card_path
from seedzoo.inference.sources import ImageSource
from seedzoo.records import Family, FileEntry
from seedzoo.stress.table import ProfileRow
from seedzoo.training.cards import card, family_card
from seedzoo.training.quantise import agreement

__all__ = ["card_files"]

_AGREEMENT_IMAGES = 1000


def card_files(
    family: Family, rows: Sequence[ProfileRow], images: ImageSource, read: Callable[[FileEntry], bytes]
) -> dict[str, bytes]:
    """Content of each card by its path below the bundle.

    Args:
        family: Whose cards.
        rows: Its profile, quantised twins included.
        images: Held-out images; the first thousand tell how far a twin agrees with its variant.
        read: Content of a model's file.
    """
    written = {FAMILY_CARD: family_card(family, rows).encode()}
    some = None
    if any(variant.int8 is not None for variant in family.variants):
        some, _, _ = images.read_usable(range(min(_AGREEMENT_IMAGES, len(images.labels))))
    for variant in family.variants:
        if variant.model is None:
            continue
        agreed = None
        if some is not None and variant.int8 is not None:
            agreed = agreement(read(variant.model), read(variant.int8), some)
        written[card_path(variant.tag)] = card(family, variant, rows, twin_agreement=agreed).encode()
    return written
