"""Rank correlations over variants, with intervals, and matrices of them between conditions."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from seedzoo.errors import DataError

__all__ = [
    "EXACT",
    "FEW",
    "Correlation",
    "CorrelationMatrix",
    "correlation_matrix",
    "holm",
    "spearman",
    "spearman_rows",
]

FEW = 10
"""With fewer variants than this the interval's normal approximation is rough, and it is wide in any case."""

EXACT = 7
"""Up to so many variants p-values are computed over all orders: Student's t would claim too much."""

_TWO_ROWS = "a correlation needs two rows of finite numbers of the same length"

_Z95 = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A rank correlation and its 95 % confidence interval; nan where it is not defined.

    Attributes:
        rho: Spearman's rank correlation in -1..1.
        low: Lower end.
        high: Upper end.
        p_value: Two-sided, of the hypothesis that there is none; nan where it is not defined.
        count: Variants that it rests on.
    """

    rho: float
    low: float
    high: float
    p_value: float = math.nan
    count: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class CorrelationMatrix:
    """Spearman's correlations between K conditions over the variants; all arrays [K, K] and symmetric.

    Attributes:
        conditions: The K conditions' names.
        rho: Correlations; 1 on the diagonal where the condition varies, nan where it does not.
        low: Lower ends of the 95 % intervals, each for itself.
        high: Upper ends.
        p_value: Two-sided p-values, each for itself; nan on the diagonal.
        p_holm: The same after Holm's correction over all pairs; nan on the diagonal.
    """

    conditions: tuple[str, ...]
    rho: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p_value: NDArray[np.float64]
    p_holm: NDArray[np.float64]


def spearman(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Spearman's rank correlation with a 95 % confidence interval.

    The interval is Fisher's: tanh(arctanh(rho) +- 1.96 sqrt((1 + rho^2 / 2) / (M - 3))), with the variance of
    Bonett & Wright (2000), "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations", Psychometrika 65(1), 23-28. The p-value is exact, over all orders, up to M = `EXACT` and where
    |rho| = 1; else that of Student's t with M - 2 degrees of freedom.
    Both take the variants for independent draws: of those that share a pretraining checkpoint there are fewer than M.
    Below `FEW` variants the interval is rough; so are both, at any M, where most variants have the same value.

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
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(_TWO_ROWS)
    return spearman_rows(first, second[None])[0]


def spearman_rows(x: ArrayLike, rows: ArrayLike) -> list[Correlation]:
    """As :func:`spearman`, of one row with each of several.

    Args:
        x: [M] finite numbers.
        rows: [G, M] finite numbers.

    Returns:
        G correlations.

    Raises:
        DataError: The shapes do not fit, or a number is not finite.
    """
    first, others = np.asarray(x, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    fits = first.ndim == 1 and others.ndim == 2 and others.shape[1:] == first.shape
    if not (fits and np.isfinite(first).all() and np.isfinite(others).all()):
        raise DataError(_TWO_ROWS)
    rhos = _rank_correlations(first, others)
    p_values = _p_values(first, others, rhos)
    return [_correlation(rho, p_value, len(first)) for rho, p_value in zip(rhos, p_values, strict=True)]


def _correlation(rho: float, p_value: float, count: int) -> Correlation:
    if count < 4 or math.isnan(rho) or abs(rho) == 1:
        return Correlation(rho=rho, low=math.nan, high=math.nan, p_value=p_value, count=count)
    half = _Z95 * math.sqrt((1 + rho**2 / 2) / (count - 3))
    centre = math.atanh(rho)
    return Correlation(
        rho=rho, low=math.tanh(centre - half), high=math.tanh(centre + half), p_value=p_value, count=count
    )


def correlation_matrix(accuracies: ArrayLike, *, conditions: Sequence[str]) -> CorrelationMatrix:
    """Correlations between conditions over the variants that were measured under both.

    Args:
        accuracies: [M variants, K conditions]; NaN where not measured.
        conditions: The K conditions' names.

    Returns:
        The matrix, with p-values corrected by Holm's method over the K (K - 1) / 2 pairs.

    Raises:
        DataError: The shape does not fit, or an accuracy is infinite.
    """
    matrix = np.asarray(accuracies, dtype=np.float64)
    count = len(conditions)
    if matrix.ndim != 2 or matrix.shape[1] != count or np.isinf(matrix).any():
        raise DataError(f"accuracies of shape {list(matrix.shape)} do not fit {count} conditions", field="accuracies")
    rho, low, high, p_value = (np.full((count, count), np.nan) for _ in range(4))
    measured = ~np.isnan(matrix)
    for i in range(count):
        own = matrix[measured[:, i], i]
        rho[i, i] = _rank_correlations(own, own[None])[0]
        for j in range(i + 1, count):
            both = measured[:, i] & measured[:, j]
            found = spearman(matrix[both, i], matrix[both, j])
            rho[i, j] = rho[j, i] = found.rho
            low[i, j] = low[j, i] = found.low
            high[i, j] = high[j, i] = found.high
            p_value[i, j] = p_value[j, i] = found.p_value
    upper = np.triu_indices(count, 1)
    p_holm = np.full((count, count), np.nan)
    p_holm[upper] = holm(p_value[upper])
    p_holm.T[upper] = p_holm[upper]
    return CorrelationMatrix(conditions=tuple(conditions), rho=rho, low=low, high=high, p_value=p_value, p_holm=p_holm)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction: the chance of any false rejection among all stays below the level.

    Args:
        p_values: [K] p-values; NaN for what was not tested, which stays NaN and does not count.

    Returns:
        [K] corrected p-values.

    References:
        S. Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 65-70.
    """
    given = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(given.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * factors))
    return corrected


def _centred_ranks(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    # Twice the ranks less their mean are whole numbers: sums are exact, and equal orders give exactly 1.
    whole: NDArray[np.int64] = np.rint(2 * stats.rankdata(rows, axis=-1) - rows.shape[-1] - 1).astype(np.int64)
    return whole


def _rank_correlations(x: NDArray[np.float64], rows: NDArray[np.float64]) -> list[float]:
    if not x.size or not len(rows) or np.ptp(x) == 0:
        return [math.nan] * len(rows)
    a, b = _centred_ranks(x), _centred_ranks(rows)
    own, products, squares = int(a @ a), (b @ a).tolist(), (b * b).sum(axis=1).tolist()
    # All ranks of a constant row are their mean.
    return [
        product / math.sqrt(own * square) if square else math.nan
        for product, square in zip(products, squares, strict=True)
    ]


@functools.cache
def _orders(count: int) -> NDArray[np.intp]:
    return np.array(list(itertools.permutations(range(count))), dtype=np.intp)


def _p_values(x: NDArray[np.float64], rows: NDArray[np.float64], rhos: Sequence[float]) -> list[float]:
    count = len(x)
    found = np.full(len(rhos), math.nan)
    if count < 3:
        return found.tolist()
    by_t = [g for g, rho in enumerate(rhos) if count > EXACT and abs(rho) < 1]
    for g, rho in enumerate(rhos):
        if count <= EXACT and not math.isnan(rho):
            a, b = _centred_ranks(x), _centred_ranks(rows[g])
            found[g] = np.mean(np.abs(b[_orders(count)] @ a) >= abs(int(a @ b)))
        elif abs(rho) == 1:
            found[g] = _extreme(x)
    if by_t:
        values = [abs(rhos[g]) * math.sqrt((count - 2) / (1 - rhos[g] ** 2)) for g in by_t]
        found[by_t] = 2 * special.stdtr(count - 2, -np.array(values))
    return found.tolist()


def _extreme(x: NDArray[np.float64]) -> float:
    # Student's t would say 0. As extreme are the orders that change equal values among themselves, and the same in
    # reverse where ties lie as they do forwards.
    ties = np.unique(x, return_counts=True)[1]
    same = math.prod(math.factorial(int(tie)) for tie in ties)
    return (2 if np.array_equal(ties, ties[::-1]) else 1) * same / math.factorial(len(x))
