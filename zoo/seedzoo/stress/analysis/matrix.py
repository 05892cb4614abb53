"""A profile as arrays, one row per variant and one column per condition; NaN where nothing was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.stress.table import ProfileRow

__all__ = ["ProfileMatrix", "profile_matrix"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileMatrix:
    """A profile of M variants under K conditions.

    Attributes:
        variants: M names.
        conditions: K names, in the profile's order.
        kinds: The kind of each condition.
        severities: The severity of each condition; None where its kind has none.
        n: Examples of each condition; None where not known or not the same for all variants.
        accuracies: float64 [M, K] shares; NaN where not measured.
        counted: bool [M, K]: the accuracy is an exact count, not a published share.
    """

    variants: tuple[str, ...]
    conditions: tuple[str, ...]
    kinds: tuple[str, ...]
    severities: tuple[int | None, ...]
    n: tuple[int | None, ...]
    accuracies: NDArray[np.float64]
    counted: NDArray[np.bool_]

    def only(self, rows: NDArray[np.bool_]) -> ProfileMatrix:
        """The same profile with the variants of a mask [M] alone."""
        return replace(
            self,
            variants=tuple(name for name, keep in zip(self.variants, rows, strict=True) if keep),
            accuracies=self.accuracies[rows],
            counted=self.counted[rows],
        )

    def column(self, condition: str) -> NDArray[np.float64]:
        """Accuracies [M] under one condition. Raises DataError where there is no such condition."""
        if condition not in self.conditions:
            raise DataError(
                f"the profile has no condition {condition!r}",
                hint=f"It has {len(self.conditions)}: {', '.join(self.conditions[:8])}, …",
                field="condition",
            )
        return self.accuracies[:, self.conditions.index(condition)]


def profile_matrix(rows: Sequence[ProfileRow]) -> ProfileMatrix:
    """Rows of a profile as a matrix; variants and conditions in the order of their first row.

    Raises:
        DataError: No rows, or two for one variant and condition.
    """
    if not rows:
        raise DataError("a profile needs at least one row")
    variants = {name: i for i, name in enumerate(dict.fromkeys(row.variant for row in rows))}
    conditions = {name: k for k, name in enumerate(dict.fromkeys(row.condition for row in rows))}
    accuracies = np.full((len(variants), len(conditions)), np.nan)
    counted = np.zeros(accuracies.shape, dtype=np.bool_)
    first: dict[str, ProfileRow] = {}
    counts: dict[str, set[int | None]] = {name: set() for name in conditions}
    for row in rows:
        place = variants[row.variant], conditions[row.condition]
        if not np.isnan(accuracies[place]):
            raise DataError(f"the profile has {row.variant} under {row.condition} twice")
        accuracies[place] = row.accuracy
        counted[place] = row.correct is not None
        first.setdefault(row.condition, row)
        counts[row.condition].add(row.n)
    return ProfileMatrix(
        variants=tuple(variants),
        conditions=tuple(conditions),
        kinds=tuple(first[name].kind for name in conditions),
        severities=tuple(first[name].severity for name in conditions),
        n=tuple(next(iter(found)) if len(found := counts[name]) == 1 else None for name in conditions),
        accuracies=accuracies,
        counted=counted,
    )
