"""The confidence set of the best: all variants that the data cannot tell from the best one."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seedzoo.selection.bootstrap import ErrorDraws, Sample, critical_value, resolves, upper_quantile

__all__ = ["ConfidenceSet", "confidence_set", "paired_se", "set_of_best", "units_needed"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ConfidenceSet:
    """Outcome of :func:`set_of_best`.

    Attributes:
        kept: [M] True for the variants in the set.
        critical: [M] what a ratio must exceed for j to leave the set.
        ratios: [M, M] (mean_k - mean_j) / se_kj in row k and column j; minus infinity on the diagonal.
        separable: Whether there are enough independent examples for any variant to leave.
    """

    kept: NDArray[np.bool_]
    critical: NDArray[np.float64]
    ratios: NDArray[np.float64]
    separable: bool

    def beaten_by(self, rivals: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """[M] whether one of these rivals (True in [M]) beats a variant beyond its critical value for all rivals."""
        # A better mean must be behind it, or rounding could drop the best of all.
        ratios = self.ratios[rivals].max(axis=0, initial=-np.inf)
        return np.asarray((ratios > self.critical) & (ratios > 0.0) & self.separable)


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
    return math.ceil(-math.log2(max(alpha, sys.float_info.min)) - 1e-9)


def confidence_set(sample: Sample, draws: ErrorDraws, *, variants: int, alpha: float) -> ConfidenceSet:
    """The set for mean scores, see :func:`set_of_best`.

    Args:
        sample: Summary whose first ``variants`` columns are the variants.
        draws: Bootstrap draws of the same sample.
        variants: M.
        alpha: Chance that the true best is missing.
    """
    covariance = sample.paired_covariance[:variants, :variants]
    errors = draws.of(covariance, student=True)
    return set_of_best(sample.means[:variants], covariance, errors, units=sample.sizes.size, alpha=alpha)


def set_of_best(
    merit: NDArray[np.float64],
    covariance: NDArray[np.float64],
    errors: NDArray[np.float64],
    *,
    units: int,
    alpha: float,
) -> ConfidenceSet:
    """Variants that are not rejected as the best; holds the true best with probability 1 - alpha.

    Variant j is rejected if T_j = max_k (merit_k - merit_j) / se_kj exceeds the 1 - alpha quantile of its own
    bootstrap statistic max_k (e_k - e_j) / se_kj, e = draws of the merits' errors. If j is the best, the
    errors alone can make T_j positive, so one test per j suffices: only the true best must survive. With
    fewer independent examples than :func:`units_needed` nothing is rejected. Where B draws are too few for alpha, no
    critical value is smaller than the largest draw, nor than Bonferroni's t at alpha / (M - 1). Columns that cannot
    differ, with a standard error of 0, never reject each other.

    Args:
        merit: [M] estimates, higher is better.
        covariance: [M, M] of the estimates.
        errors: [M, B] draws of their errors.
        units: Number of independent examples or groups.
        alpha: Chance that the true best is missing.

    References:
        P. R. Hansen, A. Lunde, J. M. Nason (2011), The model confidence set, Econometrica 79 (T_max);
        Chernozhukov, Chetverikov, Kato (2013) for the multiplier bootstrap of a max statistic.
    """
    variants = merit.size
    critical = np.zeros(variants)
    ratios = np.full((variants, variants), -np.inf)
    if variants > 1:
        se = paired_se(covariance)
        # A variant is no rival of itself, nor of one that it cannot differ from: such ratios count as 0.
        se[se == 0.0] = np.inf
        np.fill_diagonal(se, np.inf)
        ratios = (merit[:, None] - merit[None, :]) / se
        np.fill_diagonal(ratios, -np.inf)
        work = np.empty_like(errors)
        for j in range(variants):
            np.subtract(errors, errors[j], out=work)
            work /= se[:, j, None]
            critical[j] = upper_quantile(work.max(axis=0), alpha=alpha)
        if not resolves(errors.shape[1], alpha):
            np.maximum(critical, critical_value(alpha / (variants - 1), max(units - 1, 1)), out=critical)
    separable = units >= units_needed(alpha)
    found = ConfidenceSet(kept=np.ones(variants, dtype=np.bool_), critical=critical, ratios=ratios, separable=separable)
    return replace(found, kept=~found.beaten_by(np.ones(variants, dtype=np.bool_)))
