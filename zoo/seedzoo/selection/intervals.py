"""Intervals for a mean of scores in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from seedzoo.selection.checks import check_open_unit

__all__ = ["Interval", "wilson", "wilson_at"]


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval, in the unit of the scores (1 = 100 %).

    Attributes:
        estimate: The point estimate.
        low: Lower end, at most the estimate.
        high: Upper end, at least the estimate.
    """

    estimate: float
    low: float
    high: float


def wilson(mean: ArrayLike, n: ArrayLike, *, alpha: float = 0.05) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two-sided Wilson score interval with coverage 1 - alpha.

    Args:
        mean: Observed share, any shape, in [0, 1].
        n: Number of examples behind it, positive; broadcasts against ``mean``; may be a fractional
            effective number.
        alpha: One minus the coverage, in (0, 1).

    Returns:
        Low and high, in the broadcast shape.

    Raises:
        ValueError: A share outside [0, 1], an n that is not positive, or alpha outside (0, 1).

    References:
        E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    level = check_open_unit(alpha, "alpha")
    return wilson_at(mean, n, z=float(stats.norm.isf(level / 2)))


def wilson_at(mean: ArrayLike, n: ArrayLike, *, z: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson score interval at a given critical value: all p with |mean - p| <= z sqrt(p (1 - p) / n).

    With a simultaneous (max-T) critical value in place of the normal quantile the intervals hold jointly.

    Args:
        mean: Observed share, any shape, in [0, 1].
        n: Number of examples behind it, positive; broadcasts against ``mean``; may be fractional.
        z: Critical value, finite and not negative.

    Returns:
        Low and high, in the broadcast shape; they always hold the mean.

    Raises:
        ValueError: A share outside [0, 1], an n that is not positive, or a negative or infinite z.
    """
    share, count = np.broadcast_arrays(np.asarray(mean, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if not np.all((share >= 0.0) & (share <= 1.0)):
        raise ValueError("mean must lie in [0, 1]")
    if not np.all(count > 0.0):
        raise ValueError("n must be positive")
    if not 0.0 <= z < np.inf:
        raise ValueError(f"z must be finite and not negative, got {z!r}")
    spread = z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = np.sqrt(spread * share * (1 - share) + spread * spread / 4) / (1 + spread)
    # At shares of exactly 0 and 1 the ends equal the share; rounding may put them a hair beside it.
    low = np.clip(centre - half, 0.0, share)
    high = np.clip(centre + half, share, 1.0)
    return low, high
