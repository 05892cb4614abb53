"""What a profile shows per condition: how far equal variants differ, and whether accuracy foretells it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.errors import DataError
from seedzoo.stress.analysis.correlations import Correlation, spearman, spearman_rows

__all__ = ["ConditionSummary", "Correlation", "spearman", "summarise"]


@dataclass(frozen=True, kw_only=True)
class ConditionSummary:
    """One condition over the variants of a family; accuracies are shares (1 = 100 %).

    Attributes:
        condition: The condition's name.
        n: Examples behind each accuracy; None where not known.
        mean: Mean accuracy over the variants that were measured.
        sd: Standard deviation over the variants (ddof 1); nan for a single variant.
        low: Accuracy of the worst variant.
        low_variant: That variant; of equals the first.
        high: Accuracy of the best variant.
        high_variant: That variant; of equals the first.
        sd_ratio: sd relative to the in-distribution sd of the same variants; nan where that is 0 or not defined.
        correlation: Spearman correlation, over variants, with in-distribution accuracy.
        measured: How many variants were measured.
    """

    condition: str
    n: int | None
    mean: float
    sd: float
    low: float
    low_variant: str
    high: float
    high_variant: str
    sd_ratio: float
    correlation: Correlation
    measured: int


def summarise(
    accuracies: ArrayLike,
    *,
    variants: Sequence[str],
    conditions: Sequence[str],
    n: Sequence[int | None],
    reference: str = "id",
) -> tuple[ConditionSummary, ...]:
    """Summarise a profile's accuracy matrix, one row per condition.

    Args:
        accuracies: [M variants, K conditions], shares in 0..1; NaN where a variant was not measured.
        variants: The M variants' names.
        conditions: The K conditions' names.
        n: Examples per condition, K positive numbers; None where not known.
        reference: The in-distribution condition.

    Returns:
        K rows in the order of the conditions; each over the variants measured under it, and what compares with the
        reference over those measured under both.

    Raises:
        DataError: Shapes that do not fit, an accuracy outside 0..1, a condition under which nothing was measured, a
            count below 1 or no reference.
    """
    matrix = np.asarray(accuracies, dtype=np.float64)
    _check(matrix, variants, conditions, n, reference)
    rows = np.ascontiguousarray(matrix.T)
    base = rows[list(conditions).index(reference)]
    # Conditions that the same variants were measured under are summarised together: mostly all.
    alike: dict[bytes, list[int]] = {}
    for k, measured in enumerate(~np.isnan(rows)):
        alike.setdefault(measured.tobytes(), []).append(k)
    found = {
        k: summary
        for group in alike.values()
        for k, summary in zip(
            group,
            _summaries([(conditions[k], n[k]) for k in group], rows[group], base, variants),
            strict=True,
        )
    }
    return tuple(found[k] for k in range(len(conditions)))


def _summaries(
    named: Sequence[tuple[str, int | None]],
    rows: NDArray[np.float64],
    base: NDArray[np.float64],
    variants: Sequence[str],
) -> Iterator[ConditionSummary]:
    """Of conditions [G] by name and count, measured [G, M] on the same variants."""
    measured = np.flatnonzero(~np.isnan(rows[0]))
    both = measured[~np.isnan(base[measured])]
    # Copies whose rows lie in one piece: a sum over scattered numbers goes another way and rounds otherwise.
    values, shared = rows.take(measured, axis=1), rows.take(both, axis=1)
    base_sd = _sd(base[None, both])[0]
    means, sds, shared_sds = values.mean(axis=1).tolist(), _sd(values), _sd(shared)
    lowest, highest = values.argmin(axis=1).tolist(), values.argmax(axis=1).tolist()
    for g, (correlation, (name, n)) in enumerate(zip(spearman_rows(base[both], shared), named, strict=True)):
        yield ConditionSummary(
            condition=name,
            n=None if n is None else int(n),
            mean=means[g],
            sd=sds[g],
            low=float(values[g, lowest[g]]),
            low_variant=variants[int(measured[lowest[g]])],
            high=float(values[g, highest[g]]),
            high_variant=variants[int(measured[highest[g]])],
            sd_ratio=shared_sds[g] / base_sd if base_sd > 0 else math.nan,
            correlation=correlation,
            measured=len(measured),
        )


def _sd(rows: NDArray[np.float64]) -> list[float]:
    if rows.shape[1] < 2:
        return [math.nan] * len(rows)
    # Equal numbers have a mean that may round away from them; their spread is still nothing.
    return [float(sd) for sd in np.where(np.ptp(rows, axis=1) > 0, rows.std(axis=1, ddof=1), 0.0)]


def _check(
    matrix: NDArray[np.float64],
    variants: Sequence[str],
    conditions: Sequence[str],
    n: Sequence[int | None],
    reference: str,
) -> None:
    if matrix.shape != (len(variants), len(conditions)) or not variants:
        raise DataError(
            f"accuracies of shape {list(matrix.shape)} do not fit {len(variants)} variants"
            f" and {len(conditions)} conditions",
            field="accuracies",
        )
    measured = ~np.isnan(matrix)
    if not ((matrix[measured] >= 0) & (matrix[measured] <= 1)).all():
        raise DataError("accuracies must be shares between 0 and 1", field="accuracies")
    if not measured.any(axis=0).all():
        empty = conditions[int(measured.any(axis=0).argmin())]
        raise DataError(f"no variant was measured under {empty!r}", hint="Leave the condition out.", field="accuracies")
    if len(n) != len(conditions) or min((count for count in n if count is not None), default=1) < 1:
        raise DataError("each condition needs its number of examples, at least 1", field="n")
    if reference not in conditions:
        raise DataError(
            f"the profile has no condition {reference!r} to compare with",
            hint=f"Name the in-distribution condition; there are: {', '.join(conditions)}.",
            field="reference",
        )
