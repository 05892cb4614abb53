"""Metrics of an order of examples: area under the ROC curve, average precision, risk at a coverage.

All are computed for B weightings at once: sort once per variant and class, then cumulate the sorted weights.
Ties in the score count the way a random order among them would on average (ROC, risk), or as one threshold
(precision), as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seedzoo.selection.checks import check_open_unit
from seedzoo.selection.objectives.inputs import Inputs
from seedzoo.selection.objectives.metric import Metric, Weights
from seedzoo.selection.objectives.set_level import class_grain

__all__ = ["auroc", "average_precision", "risk_at_coverage"]

Floats = NDArray[np.float64]
Curve = Callable[[Floats, NDArray[np.bool_], Weights], Floats]


def _per_class(inputs: Inputs, weights: Weights, curve: Curve) -> Floats:
    """Mean over classes of a one-versus-rest figure, undefined ones left out; in a binary task that of class 1."""
    chance = inputs.need_probabilities(multilabel=None)
    positive = inputs.indicator()
    binary = inputs.classes == 2 and not inputs.multilabel
    numbers = [number for number in ([1] if binary else range(inputs.classes)) if positive[:, number].any()]
    total = np.zeros((chance.shape[1], weights.shape[1]))
    defined = np.zeros_like(total)
    for number in numbers:
        for variant in range(chance.shape[1]):
            values = curve(chance[:, variant, number], positive[:, number], weights)
            known = ~np.isnan(values)
            total[variant] += np.where(known, values, 0.0)
            defined[variant] += known
    return np.asarray(np.where(defined > 0, total / np.maximum(defined, 1), np.nan))


def _prefix_sums(rows: Weights, positions: NDArray[np.intp]) -> Floats:
    """Sums [P, B] of the first p of n rows for each position p in 0..n, in any order.

    Summing between the positions first is several times faster than accumulating all rows.
    """
    bounds = np.unique(np.append(positions, 0))
    starts = bounds[bounds < len(rows)]
    sums = np.zeros((bounds.size, rows.shape[1]), dtype=np.float64)
    if starts.size:
        parts = np.add.reduceat(rows, starts, axis=0)[: bounds.size - 1]  # the rest lies behind the last position
        np.cumsum(parts, axis=0, out=sums[1:])
    return np.asarray(sums[np.searchsorted(bounds, positions)])


def _area(score: Floats, positive: NDArray[np.bool_], weights: Weights) -> Floats:
    order = np.flatnonzero(~positive)
    order = order[np.argsort(score[order], kind="stable")]
    negatives = score[order]
    below = weights[order]
    own = weights[positive]
    strictly = np.searchsorted(negatives, score[positive], side="left")
    weakly = np.searchsorted(negatives, score[positive], side="right")
    wins = np.einsum("ib,ib->b", own, _prefix_sums(below, strictly) + _prefix_sums(below, weakly)) / 2
    pairs = own.sum(axis=0, dtype=np.float64) * below.sum(axis=0, dtype=np.float64)
    return np.asarray(np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1.0), np.nan))


def auroc() -> Metric:
    """Area under the ROC curve: of class 1 in a binary task, else the plain mean of one-versus-rest areas."""
    return Metric(
        name="auroc",
        higher_is_better=True,
        evaluate=lambda inputs, weights: _per_class(inputs, weights, _area),
        grain=class_grain,
        source="J. A. Hanley, B. J. McNeil (1982), Radiology 143; one-versus-rest: F. Provost, P. Domingos (2000)",
    )


def _precision_curve(score: Floats, positive: NDArray[np.bool_], weights: Weights) -> tuple[Floats, Floats]:
    """Precision and recall [T, B] at the T distinct scores of positives, highest first."""
    # Thresholds without a positive change no recall: only scores of positives matter.
    thresholds, which = np.unique(-score[positive], return_inverse=True)
    order = np.argsort(-score, kind="stable")
    called = _prefix_sums(weights[order], np.searchsorted(-score[order], thresholds, side="right"))
    ranks = np.argsort(which, kind="stable")
    found = _prefix_sums(weights[positive][ranks], np.cumsum(np.bincount(which)))
    precision = found / np.where(called > 0, called, 1.0)
    every = found[-1]
    recall = np.where(every > 0, found / np.where(every > 0, every, 1.0), np.nan)
    return precision, recall


def _step_area(score: Floats, positive: NDArray[np.bool_], weights: Weights) -> Floats:
    precision, recall = _precision_curve(score, positive, weights)
    return np.asarray((np.diff(recall, axis=0, prepend=0.0) * precision).sum(axis=0))


def _eleven_points(score: Floats, positive: NDArray[np.bool_], weights: Weights) -> Floats:
    precision, recall = _precision_curve(score, positive, weights)
    # Highest precision at this or any higher recall.
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    total = np.zeros(weights.shape[1])
    for level in np.linspace(0.0, 1.0, 11):
        reached = recall >= level - 1e-12  # recall's last value is 1 up to rounding
        total += np.take_along_axis(envelope, reached.argmax(axis=0)[None], axis=0)[0]
    return np.where(np.isnan(recall[-1]), np.nan, total / 11)


def average_precision(*, eleven_point: bool = False) -> Metric:
    """Mean over classes of the average precision.

    Args:
        eleven_point: Mean interpolated precision at recalls 0, .1, ..., 1 (PASCAL VOC 2007) instead of the area
            under the steps of the curve.
    """
    curve = _eleven_points if eleven_point else _step_area
    return Metric(
        name="average_precision_11" if eleven_point else "average_precision",
        higher_is_better=True,
        evaluate=lambda inputs, weights: _per_class(inputs, weights, curve),
        grain=class_grain,
        source="M. Everingham et al. (2010), The PASCAL visual object classes challenge, IJCV 88"
        if eleven_point
        else "M. Zhu (2004), Recall, precision and average precision, University of Waterloo",
    )


def risk_at_coverage(coverage: float = 0.8) -> Metric:
    """Error rate among the most confident share of the examples.

    The example at the boundary counts in part, and examples of equal confidence count alike. A coverage of less
    than one example is refused.

    Args:
        coverage: Share of the examples that is decided, in (0, 1).

    Raises:
        ValueError: coverage outside (0, 1).
    """
    share = check_open_unit(coverage, "coverage")

    def evaluate(inputs: Inputs, weights: Weights) -> Floats:
        chance = inputs.need_probabilities()
        if share * inputs.n < 1 - 1e-9:
            raise ValueError(f"risk_at_coverage with coverage = {share:g} keeps no example of {inputs.n}")
        confidence = chance.max(axis=2)
        wrong = chance.argmax(axis=2) != inputs.labels[:, None]
        target = share * weights.sum(axis=0, dtype=np.float64)
        columns = np.arange(weights.shape[1])
        risk = np.empty((chance.shape[1], weights.shape[1]))
        for variant in range(chance.shape[1]):
            order = np.argsort(-confidence[:, variant], kind="stable")
            ranked = confidence[order, variant]
            kept = np.zeros((len(order) + 1, weights.shape[1]))
            np.cumsum(weights[order], axis=0, out=kept[1:])
            errors = np.zeros_like(kept)
            np.cumsum(weights[order] * wrong[order, variant, None], axis=0, out=errors[1:])
            boundary = ranked[np.minimum((kept[1:] < target).sum(axis=0), len(order) - 1)]
            start = np.searchsorted(-ranked, -boundary, side="left")
            end = np.searchsorted(-ranked, -boundary, side="right")
            before, after = kept[start, columns], kept[end, columns]
            inside = errors[end, columns] - errors[start, columns]
            part = (target - before) / np.where(after > before, after - before, 1.0)
            risk[variant] = (errors[start, columns] + inside * np.clip(part, 0.0, 1.0)) / target
        return risk

    return Metric(
        name="risk_at_coverage",
        higher_is_better=False,
        evaluate=evaluate,
        grain=lambda inputs: 1.0 / (share * inputs.n),
        source="Y. Geifman, R. El-Yaniv (2017), Selective classification for deep neural networks, NeurIPS",
    )
