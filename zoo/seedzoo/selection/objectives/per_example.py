"""Objectives that are means over examples: accuracy, top-k, log loss, Brier score, costs, multi-label accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.checks import check_int
from seedzoo.selection.objectives.inputs import Inputs
from seedzoo.selection.objectives.metric import Metric, mean_metric

__all__ = ["accuracy", "accuracy_scores", "brier", "cost_matrix", "log_loss", "multilabel_accuracy", "top_k"]

Floats = NDArray[np.float64]


def accuracy_scores(predicted: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Whether each variant is right on each example.

    Args:
        predicted: [n, M] predicted class numbers.
        labels: [n] true class numbers.

    Returns:
        [n, M] True where the variant is right; their mean over the examples is the accuracy.

    Raises:
        ValueError: Wrong dimensions, different numbers of examples, or values that are not integers.
    """
    classes = np.asarray(predicted)
    truth = np.asarray(labels)
    if classes.ndim != 2:
        raise ValueError(f"predicted must have two dimensions [examples, variants], got {classes.ndim}")
    if truth.shape != (classes.shape[0],):
        raise ValueError(f"labels must have shape ({classes.shape[0]},), got {truth.shape}")
    for name, array in (("predicted", classes), ("labels", truth)):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} must be integers, got dtype {array.dtype}")
    return np.asarray(classes == truth[:, None], dtype=np.bool_)


def accuracy() -> Metric:
    """Share of examples whose predicted class is the true one."""

    def scores(inputs: Inputs) -> Floats:
        return accuracy_scores(inputs.need_predicted(), inputs.labels).astype(np.float64)

    return mean_metric("accuracy", scores, source="Share of right predictions; ISO/IEC TS 4213:2022, section 6.2")


def top_k(k: int = 5) -> Metric:
    """Share of examples whose true class is among the k most probable.

    Classes as probable as the true one count as ahead of it only if their number is lower, as a stable sort
    by falling probability has it. It is not defined for k of k classes or fewer, where everything is right.

    Raises:
        ValueError: k is not a positive integer.
    """
    check_int(k, "k", low=1)

    def scores(inputs: Inputs) -> Floats:
        chance = inputs.need_probabilities()
        if k >= inputs.classes:
            raise ValueError(f"top_k with k = {k} of {inputs.classes} classes is always right")
        truth = inputs.labels[:, None, None]
        own = np.take_along_axis(chance, truth, axis=2)
        ahead = (chance > own) | ((chance == own) & (np.arange(inputs.classes) < truth))
        return np.asarray(ahead.sum(axis=2) < k, dtype=np.float64)

    source = "O. Russakovsky et al. (2015), ImageNet Large Scale Visual Recognition Challenge, IJCV 115"
    return mean_metric(f"top_{k}", scores, source=source)


def log_loss() -> Metric:
    """Mean of -ln(probability of the true class) in nats. Unbounded, so it cannot race.

    Probabilities below 2.2e-16 (double precision's epsilon) count as that, as in scikit-learn.
    """

    def scores(inputs: Inputs) -> Floats:
        chance = inputs.need_probabilities()
        own = np.take_along_axis(chance, inputs.labels[:, None, None], axis=2)[:, :, 0]
        eps = np.finfo(np.float64).eps
        return np.asarray(-np.log(np.clip(own, eps, 1.0)))

    source = "I. J. Good (1952), Rational decisions, JRSS B 14"
    return mean_metric("log_loss", scores, higher_is_better=False, high=np.inf, source=source)


def brier() -> Metric:
    """Mean over examples of the squared distance between probabilities and the true class, in [0, 2]."""

    def scores(inputs: Inputs) -> Floats:
        chance = inputs.need_probabilities()
        own = np.take_along_axis(chance, inputs.labels[:, None, None], axis=2)[:, :, 0]
        return np.asarray(np.square(chance).sum(axis=2) - 2 * own + 1.0)

    source = "G. W. Brier (1950), Verification of forecasts expressed in terms of probability, Mon. Weather Rev. 78"
    return mean_metric("brier", scores, higher_is_better=False, high=2.0, source=source)


def cost_matrix(costs: ArrayLike) -> Metric:
    """Mean cost of the predictions, in the unit of the matrix.

    Args:
        costs: [C, C] finite; costs[t, p] is what it costs to call an example of class t class p.

    Raises:
        ValueError: Not square, not finite, or all entries alike.
    """
    table = np.asarray(costs, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not np.isfinite(table).all():
        raise ValueError(f"costs must be finite numbers [classes, classes], got shape {table.shape}")
    low, high = float(table.min()), float(table.max())
    if low == high:
        raise ValueError("costs must not all be alike: every variant would cost the same")

    def scores(inputs: Inputs) -> Floats:
        predicted = inputs.need_predicted()
        if inputs.classes > len(table):
            raise ValueError(f"costs cover {len(table)} classes, the examples have {inputs.classes}")
        return np.asarray(table[inputs.labels[:, None], predicted])

    source = "C. Elkan (2001), The foundations of cost-sensitive learning, IJCAI"
    return mean_metric("cost", scores, higher_is_better=False, low=low, high=high, source=source)


def multilabel_accuracy(*, exact: bool = False) -> Metric:
    """Share of labels that are right (one minus the Hamming loss), or of examples with all labels right."""

    def scores(inputs: Inputs) -> Floats:
        right = inputs.need_predicted(multilabel=True) == inputs.labels[:, None, :]
        return np.asarray(right.all(axis=2) if exact else right.mean(axis=2), dtype=np.float64)

    name = "exact_match" if exact else "multilabel_accuracy"
    source = "G. Tsoumakas, I. Katakis (2007), Multi-label classification: an overview, IJDWM 3"
    return mean_metric(name, scores, source=source)
