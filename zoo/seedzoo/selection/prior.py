"""What the stress profile teaches about a family's variants: a prior for choosing with few labels.

The zoo knows, for its own variants under every stress condition, both the label-free signature and the true
accuracy. How the one foretells the other, and how well it did so under each condition when it was calibrated by all
others, is the prior; a user's labels then say how far it holds for their data. It may only choose inside a
confidence set that comes from labelled data alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.signatures import Signature

__all__ = ["Prior", "as_signatures", "fit_prior", "posterior_deviations", "rank_unlabeled"]

# The weak prior, for data unlike any condition: how far the profile's slopes carry over, and how far the truth
# strays from them (accuracy units).
SLOPE_MEAN, SLOPE_SD = 1.0, 0.5
TAU_MEDIAN, TAU_LOG_SD = 0.012, 1.0
# Data like one of the conditions: how near to that condition's own slope and spread. The constants, and the
# shrinkage below, were tuned by bench/prior.py on its first half. STRAY: a new kind of stress strays further than
# conditions whose siblings helped to calibrate, and the noise that callers give is rather too high than too low.
LIKE_SLOPE_SD, LIKE_TAU_LOG_SD = 0.3, 0.5
STRAY = 2.5
# Four fifths of the way to the identity: K conditions cannot tell an M x M covariance, and what variants share
# under one kind of stress need not hold under another.
_SHRINKAGE = 0.8
_GRID_POINTS, _GRID_SDS = 161, 4.0
# Noise of a mean below which a deviation counts as known; keeps the formulas finite.
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """Outcome of :func:`fit_prior`.

    Attributes:
        slopes: [2] accuracy deviation per unit of COT deviation and of nuclear-norm deviation.
        covariance: [M, M] shape of what the slopes leave unexplained, mean variance 1, shrunk four fifths of the
            way to the identity.
        residual_sd: Root mean square of the residuals over the profile, in the unit of the accuracies.
        conditions: Number of conditions K that it was fitted to.
        own_slopes: [K] for each condition the slope of its accuracy deviations on those that all other conditions
            foretell: 1 where they foretell well, 0 where the outputs say nothing. Empty without other conditions.
        own_spreads: [K] how far its accuracies stray from that line, in their unit.
    """

    slopes: NDArray[np.float64]
    covariance: NDArray[np.float64]
    residual_sd: float
    conditions: int
    own_slopes: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    own_spreads: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def variants(self) -> int:
        """Number of variants M."""
        return len(self.covariance)


def fit_prior(accuracies: ArrayLike, signatures: ArrayLike) -> Prior:
    """Calibrate signatures by the stress profile.

    Within each condition all columns are taken as deviations from the family mean. One least-squares fit over
    all variants and conditions: accuracy ~ slopes[0] COT + slopes[1] nuclear. The residuals R [M, K] give the
    covariance .2 R R' / (K v) + .8 I, v = mean residual variance.

    Then every condition k is foretold by the slopes of all others: y_k ~ s_k m_k. Its own slope s_k and spread
    tau_k, both held by the weak prior where M is small, with tau_0 = .012:
    s_k = (1 / .5^2 + m_k y_k / tau_0^2) / (1 / .5^2 + m_k m_k / tau_0^2),
    tau_k^2 = (tau_0^2 + |y_k - s_k m_k|^2) / (M - 1).

    Args:
        accuracies: [M, K] true accuracy of each variant under each condition, in [0, 1].
        signatures: [M, K, 2] COT and nuclear norm of the same, with the conditions' true class proportions.

    Returns:
        The prior.

    Raises:
        ValueError: Wrong shapes, no variant or condition, NaN, or accuracies outside [0, 1].
    """
    truth = _finite(accuracies, "accuracies")
    if truth.ndim != 2 or 0 in truth.shape:
        raise ValueError(f"accuracies must have the shape [variants, conditions], neither 0, got {truth.shape}")
    if truth.min() < 0.0 or truth.max() > 1.0:
        raise ValueError("accuracies must lie in [0, 1]")
    features = _finite(signatures, "signatures")
    variants, conditions = truth.shape
    if features.shape != (variants, conditions, 2):
        raise ValueError(f"signatures must have shape ({variants}, {conditions}, 2), got {features.shape}")
    deviations = truth - truth.mean(axis=0)
    columns = features - features.mean(axis=0)
    slopes = _slopes(columns, deviations)
    residuals = deviations - columns @ slopes
    variance = float(np.square(residuals).mean())
    covariance = np.eye(variants)
    if variance > _LEAST_VARIANCE:
        observed = residuals @ residuals.T / (conditions * variance)
        covariance = (1 - _SHRINKAGE) * observed + _SHRINKAGE * covariance
    own_slopes, own_spreads = _left_out(columns, deviations)
    return Prior(
        slopes=slopes,
        covariance=covariance,
        residual_sd=math.sqrt(variance),
        conditions=conditions,
        own_slopes=own_slopes,
        own_spreads=own_spreads,
    )


def _slopes(columns: NDArray[np.float64], deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    # The least-norm solution: slopes are 0 where no variant differs from another.
    return np.asarray(np.linalg.lstsq(columns.reshape(-1, 2), deviations.ravel(), rcond=1e-9)[0])


def _left_out(
    columns: NDArray[np.float64], deviations: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Own slope and spread of each condition, foretold by all others; see :func:`fit_prior`."""
    variants, conditions = deviations.shape
    if variants == 1 or conditions == 1:
        return np.empty(0), np.empty(0)
    foretold = np.empty_like(deviations)
    for k in range(conditions):
        others = np.arange(conditions) != k
        foretold[:, k] = columns[:, k] @ _slopes(columns[:, others], deviations[:, others])
    own = (SLOPE_MEAN / SLOPE_SD**2 + (foretold * deviations).sum(axis=0) / TAU_MEDIAN**2) / (
        1 / SLOPE_SD**2 + np.square(foretold).sum(axis=0) / TAU_MEDIAN**2
    )
    strays = np.square(deviations - own * foretold).sum(axis=0)
    return own, np.sqrt((TAU_MEDIAN**2 + strays) / (variants - 1))


def rank_unlabeled(signatures: ArrayLike | Sequence[Signature], prior: Prior) -> NDArray[np.float64]:
    """Expected accuracy minus the family mean, from unlabelled data alone. Unverified: no error is known.

    Args:
        signatures: M signatures, or [M, 2] COT and nuclear norm, in the order of the prior's variants. They need
            the true class proportions; with wrong ones the ranking can be worse than guessing.
        prior: From the family's profile.

    Returns:
        [M] expected deviations, in the unit of the accuracies; they sum to 0.

    Raises:
        ValueError: Signatures of the wrong shape, NaN, or no prior.
    """
    if not isinstance(prior, Prior):
        raise ValueError(f"prior must be a Prior, got {type(prior).__name__}")
    features, _ = as_signatures(signatures, prior.variants)
    return np.asarray((features - features.mean(axis=0)) @ prior.slopes)


def posterior_deviations(
    means: ArrayLike, noise: float, signatures: ArrayLike | Sequence[Signature], prior: Prior
) -> NDArray[np.float64]:
    """Accuracy minus the family mean given labelled and unlabelled data.

    With all vectors centred: theta ~ N(s m, tau^2 C), m from :func:`rank_unlabeled`; d ~ N(theta, noise I), d =
    the sample means' deviations. (s, log tau) has a mixture prior of K + 1 equal parts: the user's data behave
    like condition k, s ~ N(s_k, .3^2) and log tau ~ N(log 2.5 tau_k, .5^2), or like none of them, s ~ N(1, .5^2)
    and log tau ~ N(log .012, 1). s is integrated out exactly, log tau on a grid, all weighted by their posterior
    (marginal likelihood x prior): labels that contradict the signatures favour the conditions under which outputs
    misled and lower s; variants that differ more than foretold raise tau.

    Args:
        means: [M] mean scores on the labelled examples.
        noise: Variance of a centred mean's error; one number, because a covariance estimated from fewer than
            5 M examples does harm.
        signatures: As in :func:`rank_unlabeled`.
        prior: From the family's profile.

    Returns:
        [M] posterior means of the deviations; they sum to 0.

    Raises:
        ValueError: Wrong shapes, NaN, or negative noise.

    References:
        Closed forms: C. E. Rasmussen, C. K. I. Williams (2006), Gaussian Processes for Machine Learning,
        section 2.7 (explicit basis functions); D. V. Lindley, A. F. M. Smith (1972), JRSS B 34. Priors from many
        past cases: H. Robbins (1956), An empirical Bayes approach to statistics, Berkeley Symposium 3.
    """
    sample = _finite(means, "means")
    if sample.shape != (prior.variants,):
        raise ValueError(f"means must have shape ({prior.variants},), got {sample.shape}")
    if not 0.0 <= noise < math.inf:
        raise ValueError(f"noise must be finite and not negative, got {noise!r}")
    foretold = rank_unlabeled(signatures, prior)
    if prior.variants == 1:
        return np.zeros(1)
    centring = np.eye(prior.variants) - 1.0 / prior.variants
    # The centred space's own axes, in which prior and noise are both diagonal; the first axis is the mean's.
    scales, axes = np.linalg.eigh(centring @ prior.covariance @ centring + 1e-9 * centring)
    scales, axes = np.maximum(scales[1:], 0.0), axes[:, 1:]
    d, m = axes.T @ sample, axes.T @ foretold
    variance = max(noise, _LEAST_VARIANCE)
    slope_means, slope_sds, tau_means, tau_sds = _components(prior)
    log_tau = np.linspace(
        (tau_means - _GRID_SDS * tau_sds).min(), (tau_means + _GRID_SDS * tau_sds).max(), _GRID_POINTS
    )
    total = np.exp(2 * log_tau)[:, None] * scales + variance
    # Components in rows, the grid in columns; what depends on tau alone is shared.
    precision = 1 / slope_sds**2 + (m * m / total).sum(axis=1)
    slope = (slope_means / slope_sds**2 + (m * d / total).sum(axis=1)) / precision
    log_posterior = -0.5 * (
        np.log(total).sum(axis=1)
        + (d * d / total).sum(axis=1)
        + np.log(precision * slope_sds**2)
        + slope_means**2 / slope_sds**2
        - precision * slope**2
        + np.square((log_tau - tau_means) / tau_sds)
    ) - np.log(tau_sds)
    weights = np.exp(log_posterior - log_posterior.max())
    weights /= weights.sum()
    known = 1 - variance / total
    by_labels, by_slope = weights.sum(axis=0), (weights * slope).sum(axis=0)
    theta = (by_labels @ known) * d + (by_slope @ (1 - known)) * m
    return np.asarray(axes @ theta)


def _components(prior: Prior) -> tuple[NDArray[np.float64], ...]:
    """Means and sds of the slope, then of log tau: one row per condition and a last one for data unlike any."""
    like = prior.own_slopes.size
    rows = (
        np.append(prior.own_slopes, SLOPE_MEAN),
        np.append(np.full(like, LIKE_SLOPE_SD), SLOPE_SD),
        np.append(np.log(STRAY * prior.own_spreads), math.log(TAU_MEDIAN)),
        np.append(np.full(like, LIKE_TAU_LOG_SD), TAU_LOG_SD),
    )
    return tuple(row[:, None] for row in rows)


def as_signatures(signatures: ArrayLike | Sequence[Signature], variants: int) -> tuple[NDArray[np.float64], bool]:
    """Signatures [M, 2], and whether any rests on assumed class proportions (arrays: the caller vouches).

    Raises:
        ValueError: Not one pair of finite numbers per variant.
    """
    assumed = False
    values: ArrayLike
    if isinstance(signatures, Sequence) and any(isinstance(each, Signature) for each in signatures):
        given = [each for each in signatures if isinstance(each, Signature)]
        if len(given) != len(signatures):
            raise ValueError("signatures must be all of type Signature, or an array [M, 2]")
        assumed = any(each.assumed for each in given)
        values = np.array([(each.cot, each.nuclear) for each in given])
    else:
        values = np.asarray(signatures)
    array = _finite(values, "signatures")
    if array.shape != (variants, 2):
        raise ValueError(f"signatures must have shape ({variants}, 2), got {array.shape}")
    return array, assumed


def _finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must not be NaN or infinite")
    return array
