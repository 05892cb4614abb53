"""Sampling distribution of the variants' mean scores: covariance, Gaussian draws, critical values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "Critical",
    "ErrorDraws",
    "Sample",
    "critical_value",
    "draws_for",
    "joint_critical",
    "resolves",
    "summarise",
    "upper_quantile",
]

# Variance of a mean that is rounding, not variation: columns of equal float scores leave such traces.
_NEGLIGIBLE = 1e-24
# Draws taken unasked, for a small alpha: this many, and no more numbers [variants, draws] than 64 MiB hold.
_MOST_DRAWS, _MOST_CELLS = 20_000, 1 << 23
# A critical value beyond all data, whose fourth power is still finite.
_BEYOND = 1e50


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """What the methods need to know of n examples scored by K columns (variants, then baselines).

    Attributes:
        n: Number of examples.
        sizes: [G] number of examples in each group.
        means: [K] mean scores.
        covariance: [K, K] estimated covariance of ``means``; whole groups are the independent units.
        group_size: Kish's mean group size sum(sizes^2) / n: the size that the average example sees; 1
            without groups.
        grouped: Whether groups were given.
    """

    n: int
    sizes: NDArray[np.float64]
    means: NDArray[np.float64]
    covariance: NDArray[np.float64]
    group_size: float
    grouped: bool

    @property
    def dof(self) -> int:
        """Degrees of freedom of ``covariance``: independent units minus one.

        A single unit says nothing of the variation between units; 1 makes its intervals near vacuous.
        """
        return max(self.sizes.size - 1, 1)

    @property
    def pseudo_variance(self) -> float:
        """One independent unit's worth of variance: 1 / n^2 without groups.

        Added to the variance of a difference, it keeps a standard error from vanishing when two variants
        happen to agree on all or nearly all examples. With groups n is the effective number n / group_size.
        """
        return (self.group_size / self.n) ** 2

    @property
    def paired_covariance(self) -> NDArray[np.float64]:
        """Covariance [K, K] to take differences from: half the pseudo-variance added to each column's own.

        So every difference of two columns gets the whole, and what is derived from differences its share.
        """
        return self.covariance + self.pseudo_variance / 2 * np.eye(self.means.size)

    def effective_n(self) -> NDArray[np.float64]:
        """Number of independent right-or-wrong examples that carry as much information, [K].

        It is n divided by the design effect: variance of the mean over that of n independent Bernoulli
        scores of equal mean. Both are given one imaginary group in which every example is wrong, so that
        the ratio is defined (= ``group_size``) when nothing went wrong, and never rests on a single error.
        Independent boolean scores give exactly n.
        """
        n = self.n
        unbiased = n / (n - 1) if n > 1 else 1.0
        observed = np.diagonal(self.covariance) * n**2 + self.group_size**2
        bernoulli = n * self.means * (1 - self.means) * unbiased + self.group_size
        return np.asarray(n * bernoulli / observed)


def summarise(columns: NDArray[np.float64], codes: NDArray[np.intp] | None = None) -> Sample:
    """Means and their covariance, paired across columns.

    Args:
        columns: [n, K] scores in [0, 1].
        codes: [n] group numbers 0..G-1; examples of one group may depend on each other. None: independent.

    Returns:
        The summary. Covariance without groups: sample covariance / n; with groups: the ratio estimator's
        linearised variance, G / (G - 1) * sum over groups of outer(S_g, S_g) / n^2, S_g = group sum of the
        centred scores.

    References:
        W. G. Cochran (1977), Sampling Techniques, 3rd ed., sections 9A.1 to 9A.3 (cluster sampling).
    """
    n = columns.shape[0]
    if codes is None:
        totals, sizes = columns, np.ones(n)
    else:
        sizes = np.bincount(codes).astype(np.float64)
        totals = np.stack([np.bincount(codes, weights=column) for column in columns.T], axis=1)
    count = sizes.size
    means = np.minimum(columns.sum(axis=0) / n, 1.0)  # rounding may put the mean of all-right floats above 1
    centred = totals - sizes[:, None] * means
    unbiased = count / (count - 1) if count > 1 else 1.0
    return Sample(
        n=n,
        sizes=sizes,
        means=means,
        covariance=centred.T @ centred * (unbiased / n**2),
        group_size=float(np.square(sizes).sum() / n),
        grouped=codes is not None,
    )


class ErrorDraws:
    """Draws of the error of the means under a Gaussian multiplier bootstrap.

    A multiplier bootstrap perturbs the means by sum_i e_i (X_i - mean) / n. With Gaussian multipliers e_i
    that sum is, given the data, exactly Gaussian with the estimated covariance, so it is drawn from the
    covariance itself: the same law as the [n_boot, n] multipliers at a cost free of n. On request the draws
    are multivariate t, because standard errors are themselves estimated: with Gaussian draws a best variant
    tied with 19 others was rejected in 8 % of samples of n = 20 at alpha .05.

    The same standard normals serve every contrast and every alpha, so results for one sample are coherent
    (sets grow as alpha falls). They are assigned in an order of the variants that follows from the data,
    not from the column index: permuting the columns permutes the results (except between exact ties).

    Args:
        sample: Summary whose first ``variants`` columns are the variants.
        variants: M.
        n_boot: Number of draws.
        rng: Source of randomness.

    References:
        V. Chernozhukov, D. Chetverikov, K. Kato (2013), Gaussian approximations and multiplier bootstrap for
        maxima of sums of high-dimensional random vectors, Ann. Statist. 41. F. Bretz, T. Hothorn, P. Westfall
        (2010), Multiple Comparisons Using R, section 3.1 (multivariate t).
    """

    def __init__(self, sample: Sample, *, variants: int, n_boot: int, rng: np.random.Generator) -> None:
        covariance = sample.covariance[:variants, :variants] * sample.n
        # Rounded, so that the order does not hang on the order of summation.
        keys = np.round([covariance.sum(axis=0), np.diagonal(covariance), sample.means[:variants]], 9)
        self._order = np.lexsort(keys)
        self._normals = rng.standard_normal((variants, n_boot))
        self._scale = np.sqrt(rng.chisquare(sample.dof, size=n_boot) / sample.dof)
        self._dof = sample.dof

    def of(self, covariance: NDArray[np.float64], *, student: bool) -> NDArray[np.float64]:
        """Draws with this covariance.

        Args:
            covariance: [M, M], positive semi-definite, one row per variant.
            student: Multivariate t with the sample's degrees of freedom instead of Gaussian.

        Returns:
            [M, n_boot] draws centred at 0.
        """
        order = self._order
        values, vectors = np.linalg.eigh(covariance[np.ix_(order, order)])
        # The symmetric root is unique; a triangular or eigenvector root would hang on order and signs.
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        draws = np.empty_like(self._normals)
        draws[order] = root @ self._normals
        if student:
            draws /= self._scale
        return draws

    def max_t(self, covariance: NDArray[np.float64], *, student: bool, alpha: float) -> Critical:
        """Critical values for estimates with this covariance.

        Args:
            covariance: [M, M] covariance of the estimates; rows with (nearly) no variance are left out.
            student: As in :meth:`of`.
            alpha: One minus the coverage.
        """
        dof = self._dof if student else None
        variance = np.diagonal(covariance)
        rows = variance > _NEGLIGIBLE
        if np.count_nonzero(rows) < 2:
            single = critical_value(alpha / 2, dof)
            return Critical(single=single, one_sided=single, two_sided=single)
        draws = self.of(covariance, student=student)[rows]
        draws /= np.sqrt(variance[rows])[:, None]
        return joint_critical(draws, dof=dof, alpha=alpha)


@dataclass(frozen=True, kw_only=True)
class Critical:
    """How many standard errors each kind of limit lies from the estimate, at one level alpha.

    Attributes:
        single: A limit on one side, of one estimate, that misses with probability alpha / 2.
        one_sided: Limits on one and the same side of all estimates; that any of them misses has probability alpha / 2.
        two_sided: Limits on both sides of all estimates; that any of them misses has probability alpha.
    """

    single: float
    one_sided: float
    two_sided: float


def joint_critical(ratios: NDArray[np.float64], *, dof: int | None, alpha: float) -> Critical:
    """Critical values from draws of studentised errors (max-T); none is smaller than that of one estimate.

    The one-sided value comes from both signs of each draw: where the law is symmetric that doubles the draws, where
    a bootstrap is skewed it keeps the skewness from shortening the side on which the error is the likelier. At an
    alpha too small for B draws (:func:`resolves`) none is smaller than the largest draw, nor than Bonferroni's value
    at alpha / (2 K): valid, and wider than more draws would make it.

    Args:
        ratios: [K, B] error / standard error.
        dof: Degrees of freedom of the standard errors; None: known, so normal.
        alpha: One minus the coverage.
    """
    estimates, count = ratios.shape
    single = critical_value(alpha / 2, dof)
    least = single if resolves(count, alpha) else critical_value(alpha / (2 * estimates), dof)
    top, bottom = ratios.max(axis=0), -ratios.min(axis=0)
    one_sided = upper_quantile(np.concatenate([top, bottom]), alpha=alpha / 2)
    two_sided = upper_quantile(np.maximum(top, bottom), alpha=alpha)
    return Critical(single=single, one_sided=max(least, float(one_sided)), two_sided=max(least, float(two_sided)))


def critical_value(tail: float, dof: int | None) -> float:
    """Upper quantile of the normal, or of Student's t where degrees of freedom are given; at most 1e50."""
    return min(float(stats.norm.isf(tail) if dof is None else stats.t.isf(tail, dof)), _BEYOND)


def resolves(n_boot: int, alpha: float) -> bool:
    """Whether a Monte Carlo test with so many draws can have level alpha: alpha (B + 1) >= 1."""
    return alpha * (n_boot + 1) >= 1 - 1e-9


def draws_for(alpha: float, *, n_boot: int, variants: int, most: int = _MOST_DRAWS) -> int:
    """How many draws to take for quantiles at alpha: four beyond it where that costs little, never fewer than asked.

    Args:
        alpha: Level.
        n_boot: As many as the caller asked for.
        variants: M; time and memory grow with it.
        most: Limit to what is taken unasked.
    """
    limit = min(most, _MOST_CELLS // variants)
    return max(n_boot, limit if alpha * limit < 4 else math.ceil(4 / alpha))


def upper_quantile(draws: NDArray[np.float64], *, alpha: float) -> NDArray[np.float64]:
    """The ceil((B + 1)(1 - alpha))-th smallest of B draws along the last axis; the largest where there are too few.

    Counting the observed value among the draws makes a Monte Carlo test exact in its level.

    References:
        A. C. Davison, D. V. Hinkley (1997), Bootstrap Methods and their Application, section 4.2.
    """
    count = draws.shape[-1]
    # The hair below the product keeps rounding in (1 - alpha) from moving to the next rank.
    rank = min(math.ceil((count + 1) * (1 - alpha) - 1e-9), count)
    return np.asarray(np.partition(draws, rank - 1, axis=-1)[..., rank - 1])
