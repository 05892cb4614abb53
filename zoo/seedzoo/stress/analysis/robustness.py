"""Effective robustness: how much better a model does under a shift than its in-distribution accuracy foretells.

Taori et al. (2020), "Measuring Robustness to Natural Distribution Shifts in Image Classification", NeurIPS: over
models trained in the standard way, logit(accuracy under the shift) is nearly linear in logit(accuracy on the
class-matched in-distribution set), and

    effective robustness = accuracy under the shift - logit^-1(slope * logit(in-distribution accuracy) + intercept).

Variants of one family differ too little in distribution for a line; there the family's mean takes its place.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from seedzoo.errors import DataError

__all__ = ["LogitLine", "effective_robustness", "family_robustness", "fit_line", "published_lines"]


@dataclass(frozen=True, kw_only=True)
class LogitLine:
    """A line fitted by least squares between logits of accuracies.

    Attributes:
        slope: Of logit(accuracy under the shift) over logit(in-distribution accuracy).
        intercept: At in-distribution accuracy 50 %.
        r: Pearson's correlation of the logits.
        models: How many models it was fitted to.
    """

    slope: float
    intercept: float
    r: float
    models: int

    def predict(self, in_distribution: ArrayLike) -> NDArray[np.float64]:
        """Accuracy under the shift (share) that the line foretells, of any shape."""
        given = np.asarray(in_distribution, dtype=np.float64)
        return np.asarray(expit(self.slope * logit(given) + self.intercept), dtype=np.float64)


def fit_line(in_distribution: ArrayLike, shifted: ArrayLike) -> LogitLine:
    """Fit the line to reference models.

    Args:
        in_distribution: [R] accuracies on the class-matched in-distribution set, shares strictly within 0..1, where
            the logit is finite; NaN where not measured.
        shifted: [R] accuracies of the same models under the shift, likewise.

    Returns:
        The line over the models that have both.

    Raises:
        DataError: Shapes that do not fit, an accuracy of 0 or 1 or beyond, fewer than three models, or all with the
            same in-distribution accuracy.
    """
    x, y = np.asarray(in_distribution, dtype=np.float64), np.asarray(shifted, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError("a line needs two rows of accuracies of the same length")
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    if not all(((row > 0) & (row < 1)).all() for row in (x, y)):
        raise DataError("a line between logits needs accuracies strictly between 0 and 1")
    if len(x) < 3 or np.ptp(x) == 0:
        raise DataError("a line needs at least three models that differ in distribution")
    a, b = logit(x), logit(y)
    slope = float(np.cov(a, b)[0, 1] / a.var(ddof=1))
    r = float(np.corrcoef(a, b)[0, 1]) if np.ptp(b) > 0 else float("nan")
    return LogitLine(slope=slope, intercept=float(b.mean() - slope * a.mean()), r=r, models=len(x))


def effective_robustness(in_distribution: ArrayLike, shifted: ArrayLike, line: LogitLine) -> NDArray[np.float64]:
    """Effective robustness [M], as a share (.01 = one point); NaN where an accuracy is."""
    return np.asarray(shifted, dtype=np.float64) - line.predict(in_distribution)


def family_robustness(shifted: ArrayLike) -> NDArray[np.float64]:
    """Within a family of equally accurate variants: accuracy under the shift minus the family's mean [M], a share."""
    accuracies = np.asarray(shifted, dtype=np.float64)
    return accuracies - np.nanmean(accuracies)


@functools.cache
def published_lines() -> Mapping[str, tuple[str, LogitLine]]:
    """Lines of standard ImageNet models: test set -> (class-matched in-distribution set, line).

    The names of the sets are those of the published grid, such as ``objectnet-1.0-beta`` and
    ``val-on-objectnet-classes``; ``tools/fit_lines.py`` fitted them.
    """
    found = json.loads((files(__package__) / "data" / "standard_lines.json").read_text())
    return {
        name: (
            row["in_distribution"],
            LogitLine(slope=row["slope"], intercept=row["intercept"], r=row["r"], models=row["models"]),
        )
        for name, row in found["lines"].items()
    }
