"""The certificate: which of the trained variants are shown to be equally accurate, and which of them are published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.records import Certificate, CertificateEntry
from seedzoo.selection import equivalence_to_mean
from seedzoo.training.recipe import Recipe

__all__ = ["certify"]

_METHOD = "paired two one-sided tests (TOST) against the mean of all trained variants, each at level alpha / trained"


def certify(recipe: Recipe, tags: Sequence[str], correct: NDArray[np.bool_]) -> tuple[Certificate, tuple[str, ...]]:
    """Test all trained variants and pick those to publish.

    The first ``publish`` that pass, in order of their tags: not the most accurate ones, which would tune the family
    to its test set.

    Args:
        recipe: Margin, level and how many to publish.
        tags: Trained variants.
        correct: bool ``[n, M]``, in the order of ``tags``, on the in-distribution test set.

    Returns:
        The certificate and the tags to publish.

    Raises:
        DataError: Fewer pass than the recipe publishes.
    """
    section = recipe.certificate
    result = equivalence_to_mean(correct, margin=section.margin, alpha=section.alpha)
    passed = [tag for tag, ok in zip(tags, result.passed, strict=True) if ok]
    wanted = recipe.family.publish
    if len(passed) < wanted:
        raise DataError(
            f"{len(passed)} of {len(tags)} variants are shown to be equally accurate; {wanted} are to be published",
            hint="Train more (family.train), test on more examples, or state a wider margin.",
            reason="TOO_FEW_CERTIFIED",
        )
    published = tuple(passed[:wanted])
    certificate = Certificate(
        method=_METHOD,
        margin=section.margin,
        alpha=section.alpha,
        n_examples=len(correct),
        trained=len(tags),
        published=len(published),
        family_mean=float(correct.mean()),
        entries=tuple(
            CertificateEntry(
                tag=tag,
                difference=float(result.difference[column]),
                low=float(result.low[column]),
                high=float(result.high[column]),
                p_value=float(result.p_value[column]),
                passed=bool(result.passed[column]),
            )
            for column, tag in enumerate(tags)
        ),
        set_aside=tuple(passed[wanted:]),
    )
    return certificate, published
