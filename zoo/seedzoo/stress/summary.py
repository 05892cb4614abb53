"""What a profile shows per condition: how far equal variants differ, and whether accuracy foretells it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from seedzoo.errors import DataError

__all__ = ["ConditionSummary", "Correlation", "spearman", "summarise"]

_Z95 = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A rank correlation and its 95 % confidence interval; nan where it is not defined.

    Attributes:
        rho: Spearman's rank correlation in -1..1.
        low: Lower end.
        high: Upper end.
    """

    rho: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ConditionSummary:
    """One condition over the variants of a family; accuracies are shares (1 = 100 %).

    Attributes:
        condition: The condition's name.
        n: Examples behind each accuracy.
        mean: Mean accuracy over the variants.
        sd: Standard deviation over the variants (ddof 1); nan for a single variant.
        low: Accuracy of the worst variant.
        low_variant: That variant; of equals the first.
        high: Accuracy of the best variant.
        high_variant: That variant; of equals the first.
        sd_ratio: sd relative to the in-distribution sd; nan where that is 0 or not defined.
        correlation: Spearman correlation, over variants, with in-distribution accuracy.
    """

    condition: str
    n: int
    mean: float
    sd: float
    low: float
    low_variant: str
    high: float
    high_variant: str
    sd_ratio: float
    correlation: Correlation


def summarise(
    accuracies: ArrayLike,
    *,
    variants: Sequence[str],
    conditions: Sequence[str],
    n: Sequence[int],
    reference: str = "id",
) -> tuple[ConditionSummary, ...]:
    """Summarise a profile's accuracy matrix, one row per condition.

    Args:
        accuracies: [M variants, K conditions], shares in 0..1.
        variants: The M variants' names.
        conditions: The K conditions' names.
        n: Examples per condition, K positive numbers.
        reference: The in-distribution condition.

    Returns:
        K rows in the order of the conditions.

    Raises:
        DataError: Shapes that do not fit, an accuracy outside 0..1, a count below 1 or no reference.
    """
    matrix = np.asarray(accuracies, dtype=np.float64)
    _check(matrix, variants, conditions, n, reference)
    base = matrix[:, list(conditions).index(reference)]
    base_sd = _sd(base)
    return tuple(
        ConditionSummary(
            condition=name,
            n=int(count),
            mean=float(column.mean()),
            sd=_sd(column),
            low=float(column.min()),
            low_variant=variants[int(column.argmin())],
            high=float(column.max()),
            high_variant=variants[int(column.argmax())],
            sd_ratio=_sd(column) / base_sd if base_sd > 0 else math.nan,
            correlation=spearman(base, column),
        )
        for name, count, column in zip(conditions, n, matrix.T, strict=True)
    )


def spearman(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Spearman's rank correlation with a 95 % confidence interval.

    The interval is Fisher's: tanh(arctanh(rho) +- 1.96 sqrt((1 + rho^2 / 2) / (M - 3))), with the variance of
    Bonett & Wright (2000), "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations", Psychometrika 65(1), 23-28.

    Args:
        x: [M] finite numbers.
        y: [M] finite numbers.

    Returns:
        The correlation; rho is nan if x or y is constant; the interval also for M < 4 and for |rho| = 1,
        where Fisher's transform is infinite.

    Raises:
        DataError: x and y are not two rows of the same length of finite numbers.
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or not np.isfinite([first, second]).all():
        raise DataError("a correlation needs two rows of finite numbers of the same length")
    rho = _rank_correlation(first, second)
    count = len(first)
    if count < 4 or math.isnan(rho) or abs(rho) == 1:
        return Correlation(rho=rho, low=math.nan, high=math.nan)
    half = _Z95 * math.sqrt((1 + rho**2 / 2) / (count - 3))
    centre = math.atanh(rho)
    return Correlation(rho=rho, low=math.tanh(centre - half), high=math.tanh(centre + half))


def _rank_correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if not x.size or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    # Twice the ranks less their mean are whole numbers: sums are exact, and equal orders give exactly 1.
    a, b = (np.rint(2 * stats.rankdata(row) - len(row) - 1).astype(np.int64) for row in (x, y))
    return int(a @ b) / math.sqrt(int(a @ a) * int(b @ b))


def _sd(column: NDArray[np.float64]) -> float:
    if len(column) < 2:
        return math.nan
    # Equal numbers have a mean that may round away from them; their spread is still nothing.
    return float(column.std(ddof=1)) if np.ptp(column) > 0 else 0.0


def _check(
    matrix: NDArray[np.float64],
    variants: Sequence[str],
    conditions: Sequence[str],
    n: Sequence[int],
    reference: str,
) -> None:
    if matrix.shape != (len(variants), len(conditions)) or not variants:
        raise DataError(
            f"accuracies of shape {list(matrix.shape)} do not fit {len(variants)} variants"
            f" and {len(conditions)} conditions",
            field="accuracies",
        )
    if not ((matrix >= 0) & (matrix <= 1)).all():
        raise DataError("accuracies must be shares between 0 and 1", field="accuracies")
    if len(n) != len(conditions) or min(n) < 1:
        raise DataError("each condition needs its number of examples, at least 1", field="n")
    if reference not in conditions:
        raise DataError(
            f"the profile has no condition {reference!r} to compare with",
            hint=f"Name the in-distribution condition; there are: {', '.join(conditions)}.",
            field="reference",
        )
