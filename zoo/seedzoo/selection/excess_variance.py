"""Do variants differ more on a set of examples than sampling those examples explains? Cochran's Q, three ways.

Let X_ij = 1 where variant j of M is right on example i of n, C_j the column totals and r_i the row totals. The null
hypothesis is exchangeability: on every example, which r_i of the variants are right is a matter of chance alone. Then
each C_j has the same expectation and E[sum_j (C_j - mean C)^2] = sum_i r_i (M - r_i) / M exactly, so

    Q = (M - 1) M sum_j (C_j - mean C)^2 / sum_i r_i (M - r_i)        (Cochran 1950)

has expectation M - 1. All tests are one-sided: a large Q speaks for real differences between the variants. They are
paired: what all variants get right or wrong adds nothing to the denominator.

What is in hand decides which test there is:

* every X_ij: `excess_variance`, the exact permutation test of that null;
* C_j and sum_i r_i^2 (both are sums over examples, so a run can add them up block by block): `excess_variance_chi2`;
* C_j alone: `excess_variance_bound`. As r (M - r) is concave, no table with these totals has a smaller Q than the one
  with all row totals equal, so the p-value is never below that of the chi-square test: it cannot claim too much, but
  misses much where the variants are right on the same examples, as seed variants mostly are.

Exchangeability is a little more than equal accuracy: variants of equal accuracy that come in groups (a shared
pretraining seed) are more alike within a group, and then Q varies more than chi-square says.

References:
    W. G. Cochran (1950), The comparison of percentages in matched samples, Biometrika 37, 256-266.
    E. J. G. Pitman (1939), A note on normal correlation, Biometrika 31, 9-12; W. A. Morgan (1939), ibid., 13-19.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from seedzoo.selection.checks import as_scores, check_int, check_open, check_open_unit

__all__ = [
    "ExcessVariance",
    "SpreadRatio",
    "excess_variance",
    "excess_variance_bound",
    "excess_variance_chi2",
    "spread_ratio",
]


@dataclass(frozen=True, kw_only=True)
class ExcessVariance:
    """How far variants differ on one set of examples, and how far chance alone would spread them.

    Attributes:
        method: ``permutation``, ``chi2`` or ``bound``.
        n: Number of examples.
        variants: M.
        sd: Standard deviation of the accuracies over the variants (ddof 1).
        noise_sd: What it would be on average if the variants were exchangeable; under ``bound`` the most that it can
            be.
        excess_sd: sqrt(max(0, sd^2 - noise_sd^2)): the spread that sampling does not explain; under ``bound`` at
            least so much.
        q: Cochran's Q; under ``bound`` the least that it can be; nan where no variant differs from another on any
            example.
        p_value: One-sided; 1 where q is nan.
    """

    method: str
    n: int
    variants: int
    sd: float
    noise_sd: float
    excess_sd: float
    q: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class SpreadRatio:
    """How many times as far the same variants spread under one condition as under another.

    Attributes:
        ratio: sd under the condition / sd under the reference.
        low: Lower end of its interval.
        high: Upper end of its interval.
        p_value: One-sided, that the true ratio is at most ``expected``.
        expected: The ratio to beat.
    """

    ratio: float
    low: float
    high: float
    p_value: float
    expected: float


def excess_variance(scores: ArrayLike, *, permutations: int = 999, seed: int = 0) -> ExcessVariance:
    """Permutation test of excess variance: which variants are right is shuffled within every example.

    p = (1 + number of shuffles with a Q of at least the observed one) / (1 + permutations), which is exact under
    exchangeability for any n and M.

    Args:
        scores: [n, M] booleans (or 0 and 1): whether variant m is right on example i; M at least 2.
        permutations: Number of shuffles; the smallest p-value is 1 / (1 + permutations).
        seed: Seed of the shuffles.

    Returns:
        The test and its ingredients.

    Raises:
        ValueError: Scores other than 0 and 1, fewer than two variants, or fewer than 19 shuffles.
    """
    values = as_scores(scores)
    if not ((values == 0.0) | (values == 1.0)).all():
        raise ValueError("scores must be 0 or 1")
    right = values.astype(np.uint8)
    shuffles = check_int(permutations, "permutations", low=19)
    rng = np.random.default_rng(check_int(seed, "seed", low=0))
    n, variants = right.shape
    rows = right.sum(axis=1, dtype=np.int64)
    found = _tested(
        right.sum(axis=0, dtype=np.int64), n=n, disagreement=float((rows * (variants - rows)).sum()), method="chi2"
    )
    # Rows on which all agree stay as they are under any shuffle.
    telling = np.ascontiguousarray(right[(rows > 0) & (rows < variants)])
    observed = _sum_of_squares(telling)
    as_extreme = sum(_sum_of_squares(rng.permuted(telling, axis=1)) >= observed for _ in range(shuffles))
    return replace(found, method="permutation", p_value=(1 + as_extreme) / (1 + shuffles))


def excess_variance_chi2(correct: ArrayLike, *, n: int, sum_squares: int) -> ExcessVariance:
    """Cochran's test from sums: Q against chi-square with M - 1 degrees of freedom.

    Args:
        correct: [M] how many of the n examples each variant is right on.
        n: Number of examples.
        sum_squares: sum over examples of the squared number of variants that are right on it.

    Returns:
        The test and its ingredients.

    Raises:
        ValueError: Counts outside 0..n, fewer than two variants, or a sum that no table with these counts has.
    """
    counts = _as_counts(correct, n)
    total = float(counts.sum())
    squares = float(check_int(sum_squares, "sum_squares", low=0))
    # Row totals lie in 0..M and sum to the total: their squares sum to at least total^2 / n and at most M total.
    if not total**2 / n - 1e-6 * max(1.0, total) <= squares <= len(counts) * total:
        raise ValueError(f"sum_squares {sum_squares} does not fit counts that sum to {total:g} over {n} examples")
    return _tested(counts, n=n, disagreement=max(0.0, len(counts) * total - squares), method="chi2")


def excess_variance_bound(correct: ArrayLike, *, n: int) -> ExcessVariance:
    """The least that Cochran's test can find, from the variants' counts alone: conservative for any pairing.

    Args:
        correct: [M] how many of the n examples each variant is right on; n times a published share will do.
        n: Number of examples.

    Returns:
        The test and its ingredients.

    Raises:
        ValueError: Counts outside 0..n, or fewer than two variants.
    """
    counts = _as_counts(correct, n)
    total = float(counts.sum())
    return _tested(counts, n=n, disagreement=max(0.0, len(counts) * total - total**2 / n), method="bound")


def spread_ratio(
    reference: ArrayLike, condition: ArrayLike, *, expected: float = 1.0, alpha: float = 0.05
) -> SpreadRatio:
    """The ratio of two sds over the same variants, with an interval (Pitman 1939, Morgan 1939).

    For two correlated normal measurements, sum and difference are uncorrelated exactly if the variances are equal;
    scaled by ``expected``, this tests any ratio. Variants are the sample, taken for a random one of all seeds; the
    interval assumes normality over variants, and heavy tails make it too narrow.

    Args:
        reference: [M] accuracies of the variants under the reference, at least 4.
        condition: [M] accuracies of the same variants under the condition.
        expected: Ratio that the one-sided test asks to exceed. With the ratio of the two noise sds of
            :class:`ExcessVariance` the question is whether the spread grows by more than sampling explains.
        alpha: One minus the coverage of the interval.

    Returns:
        Ratio, interval and p-value; all nan where the reference does not vary.

    Raises:
        ValueError: Not two rows of the same length of at least 4 finite numbers, or arguments out of range.
    """
    x, y = np.asarray(reference, dtype=np.float64), np.asarray(condition, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 4 or not np.isfinite([x, y]).all():
        raise ValueError("a ratio of spreads needs two rows of the same length of at least 4 finite numbers")
    level, asked = check_open_unit(alpha, "alpha"), check_open(expected, "expected", high=math.inf)
    if np.ptp(x) == 0:
        return SpreadRatio(ratio=math.nan, low=math.nan, high=math.nan, p_value=math.nan, expected=asked)
    if np.ptp(y) == 0:
        return SpreadRatio(ratio=0.0, low=0.0, high=0.0, p_value=1.0, expected=asked)
    freedom = len(x) - 2
    ratio = float(y.std(ddof=1) / x.std(ddof=1))
    correlation = min(1.0, max(-1.0, float(np.corrcoef(x, y)[0, 1])))
    quantile = float(stats.t.isf(level / 2, freedom))
    k = 1 + 2 * (1 - correlation**2) * quantile**2 / freedom
    factor = math.sqrt(k + math.sqrt(k * k - 1))
    # Correlation of y + asked x with y - asked x, from the variances: no cancellation where they are nearly equal.
    scaled = asked / ratio
    below = (1 + scaled**2) ** 2 - (2 * scaled * correlation) ** 2
    tilt = (1 - scaled**2) / math.sqrt(below) if below > 0 else 0.0
    tilt = min(1.0, max(-1.0, tilt))
    statistic = tilt * math.sqrt(freedom / (1 - tilt**2)) if abs(tilt) < 1 else math.copysign(math.inf, tilt)
    return SpreadRatio(
        ratio=ratio,
        low=ratio / factor,
        high=ratio * factor,
        p_value=float(stats.t.sf(statistic, freedom)),
        expected=asked,
    )


def _as_counts(correct: ArrayLike, n: int) -> NDArray[np.float64]:
    count = check_int(n, "n", low=1)
    counts = np.asarray(correct, dtype=np.float64)
    if counts.ndim != 1 or len(counts) < 2:
        raise ValueError("excess variance needs the counts of at least two variants")
    if not ((counts >= 0) & (counts <= count)).all():
        raise ValueError(f"counts must lie between 0 and n = {count}")
    return counts


def _tested(counts: NDArray[Any], *, n: int, disagreement: float, method: str) -> ExcessVariance:
    """Q and what belongs to it; ``disagreement`` is sum_i r_i (M - r_i)."""
    variants = len(counts)
    if variants < 2:
        raise ValueError("excess variance needs at least two variants")
    deviations = counts - counts.mean()
    spread = float(deviations @ deviations) if np.ptp(counts) > 0 else 0.0
    variance = spread / (variants - 1) / n**2
    noise = disagreement / (variants * (variants - 1)) / n**2
    q = (variants - 1) * variants * spread / disagreement if disagreement > 0 else math.nan
    return ExcessVariance(
        method=method,
        n=n,
        variants=variants,
        sd=math.sqrt(variance),
        noise_sd=math.sqrt(noise),
        excess_sd=math.sqrt(max(0.0, variance - noise)),
        q=q,
        p_value=1.0 if math.isnan(q) else float(stats.chi2.sf(q, variants - 1)),
    )


def _sum_of_squares(right: NDArray[np.uint8]) -> int:
    # The totals' sum is the same under any shuffle, so Q grows with this alone; whole numbers make ties exact.
    totals = right.sum(axis=0, dtype=np.int64)
    return int(totals @ totals)
