"""The confidence set of the best: all variants that the data cannot tell from the best one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedzoo.selection.bootstrap import ErrorDraws, Sample, upper_quantile

__all__ = ["ConfidenceSet", "confidence_set", "paired_se", "units_needed"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ConfidenceSet:
    """Outcome of :func:`confidence_set`.

    Attributes:
        kept: [M] True for the variants in the set.
        statistic: [M] max_k (mean_k - mean_j) / se_kj; not positive for the one with the highest mean.
        critical: [M] what the statistic must exceed for j to leave the set.
    """

    kept: NDArray[np.bool_]
    statistic: NDArray[np.float64]
    critical: NDArray[np.float64]


def paired_se(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard errors of all pairwise differences.

    Args:
        covariance: [M, M] covariance of the means.

    Returns:
        [M, M], symmetric, 0 on the diagonal.
    """
    own = np.diagonal(covariance)
    return np.sqrt(np.maximum(own[:, None] + own[None, :] - covariance - covariance.T, 0.0))


def units_needed(alpha: float) -> int:
    """Fewest independent examples that can separate two variants at level alpha.

    Even if all m of them speak for one side, chance does that with probability 2^-m (the sign test).
    """
    return math.ceil(-math.log2(alpha) - 1e-9)


def confidence_set(sample: Sample, draws: ErrorDraws, *, variants: int, alpha: float) -> ConfidenceSet:
    """Variants that are not rejected as the best; holds the true best with probability 1 - alpha.

    Variant j is rejected if T_j = max_k (mean_k - mean_j) / se_kj exceeds the 1 - alpha quantile of its own
    bootstrap statistic max_k (e_k - e_j) / se_kj, e = draws of the means' errors. If j is the best, the
    errors alone can make T_j positive, so one test per j suffices: only the true best must survive. With
    fewer independent examples than :func:`units_needed` nothing is rejected.

    Args:
        sample: Summary whose first ``variants`` columns are the variants.
        draws: Bootstrap draws of the same sample.
        variants: M.
        alpha: Chance that the true best is missing.

    Returns:
        Set, statistics and critical values.

    References:
        P. R. Hansen, A. Lunde, J. M. Nason (2011), The model confidence set, Econometrica 79 (T_max);
        Chernozhukov, Chetverikov, Kato (2013) for the multiplier bootstrap of a max statistic.
    """
    means = sample.means[:variants]
    covariance = sample.paired_covariance[:variants, :variants]
    statistic = np.full(variants, -np.inf)
    critical = np.zeros(variants)
    kept = np.ones(variants, dtype=np.bool_)
    if variants > 1:
        se = paired_se(covariance)
        np.fill_diagonal(se, np.inf)  # a variant is no rival of itself: its ratio to itself counts as 0
        errors = draws.of(covariance, student=True)
        ratios = (means[:, None] - means[None, :]) / se
        np.fill_diagonal(ratios, -np.inf)
        statistic = ratios.max(axis=0)
        work = np.empty_like(errors)
        for j in range(variants):
            np.subtract(errors, errors[j], out=work)
            work /= se[:, j, None]
            critical[j] = upper_quantile(work.max(axis=0), alpha=alpha)
        kept = statistic <= critical
        # The top mean has a statistic <= 0 and a critical value >= 0; rounding must not drop it.
        kept |= means >= means.max()
        if sample.sizes.size < units_needed(alpha):
            kept[:] = True
    return ConfidenceSet(kept=kept, statistic=statistic, critical=critical)
