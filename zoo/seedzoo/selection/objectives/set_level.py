"""Metrics of a whole set that are functions of counts: balanced accuracy, macro-F1, worst slice, calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seedzoo.selection.checks import check_int
from seedzoo.selection.objectives.inputs import Inputs
from seedzoo.selection.objectives.metric import Metric, Weights
from seedzoo.selection.objectives.per_example import accuracy_scores

__all__ = ["balanced_accuracy", "class_grain", "ece", "macro_f1", "worst_slice"]

Floats = NDArray[np.float64]


def class_grain(inputs: Inputs) -> float:
    """What one example of the rarest class moves a mean over classes: 1 / (classes present x its size)."""
    sizes = inputs.indicator().sum(axis=0)
    present = sizes[sizes > 0]
    return 1.0 / float(present.size * present.min()) if present.size else 1.0


def balanced_accuracy() -> Metric:
    """Mean over the classes that occur of the share of their examples that is right (macro recall)."""

    def evaluate(inputs: Inputs, weights: Weights) -> Floats:
        right = accuracy_scores(inputs.need_predicted(), inputs.labels)
        total = np.zeros((right.shape[1], weights.shape[1]))
        present = np.zeros(weights.shape[1])
        for rows in _rows(inputs.labels, inputs.classes):
            size = weights[rows].sum(axis=0)
            occurs = size > 0
            hits = _counted(right[rows], weights[rows])
            total += np.where(occurs, hits / np.where(occurs, size, 1), 0)
            present += occurs
        return total / present

    return Metric(
        name="balanced_accuracy",
        higher_is_better=True,
        evaluate=evaluate,
        grain=class_grain,
        source="K. H. Brodersen et al. (2010), The balanced accuracy and its posterior distribution, ICPR",
    )


def macro_f1() -> Metric:
    """Mean over classes of F1 = 2 tp / (labelled + predicted), over classes that are labelled or predicted."""

    def evaluate(inputs: Inputs, weights: Weights) -> Floats:
        predicted = inputs.need_predicted()
        total = np.zeros((predicted.shape[1], weights.shape[1]))
        present = np.zeros_like(total)
        for number in range(inputs.classes):
            called = predicted == number
            rows = np.flatnonzero(inputs.labels == number)
            hits = _counted(called[rows], weights[rows])
            size = _counted(called, weights) + weights[rows].sum(axis=0)
            occurs = size > 0
            total += np.where(occurs, 2 * hits / np.where(occurs, size, 1.0), 0.0)
            present += occurs
        return total / present

    return Metric(
        name="macro_f1",
        higher_is_better=True,
        evaluate=evaluate,
        grain=class_grain,
        source="J. Opitz, S. Burst (2019), Macro F1 and macro F1, arXiv:1911.03347 (mean of the classes' F1)",
    )


def worst_slice() -> Metric:
    """Lowest accuracy of any slice that occurs."""

    def evaluate(inputs: Inputs, weights: Weights) -> Floats:
        if inputs.slices is None:
            raise ValueError("worst_slice needs slices")
        right = accuracy_scores(inputs.need_predicted(), inputs.labels)
        lowest = np.full((right.shape[1], weights.shape[1]), np.inf)
        for rows in _rows(inputs.slices, int(inputs.slices.max()) + 1):
            size = weights[rows].sum(axis=0)
            occurs = size > 0
            share = _counted(right[rows], weights[rows]) / np.where(occurs, size, 1.0)
            np.minimum(lowest, np.where(occurs, share, np.inf), out=lowest)
        return lowest

    def grain(inputs: Inputs) -> float:
        return 1.0 if inputs.slices is None else 1.0 / float(np.unique(inputs.slices, return_counts=True)[1].min())

    return Metric(
        name="worst_slice",
        higher_is_better=True,
        evaluate=evaluate,
        grain=grain,
        source="S. Sagawa et al. (2020), Distributionally robust neural networks for group shifts, ICLR",
    )


def ece(bins: int = 15) -> Metric:
    """Expected calibration error: mean over equal-width bins of |confidence - accuracy|, weighted by size.

    Reported, not optimised: it is biased upwards at small n, and a variant that always says the base rates has none.

    Raises:
        ValueError: bins is not a positive integer.
    """
    check_int(bins, "bins", low=1)

    def evaluate(inputs: Inputs, weights: Weights) -> Floats:
        chance = inputs.need_probabilities()
        confidence = chance.max(axis=2)
        excess = confidence - (chance.argmax(axis=2) == inputs.labels[:, None])
        # Bins are open on the left and closed on the right, as in the source.
        number = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
        total = np.zeros((chance.shape[1], weights.shape[1]))
        for variant in range(chance.shape[1]):
            for position in np.unique(number[:, variant]):
                rows = np.flatnonzero(number[:, variant] == position)
                total[variant] += np.abs(excess[rows, variant] @ weights[rows])
        return np.asarray(total / weights.sum(axis=0))

    return Metric(
        name="ece",
        higher_is_better=False,
        evaluate=evaluate,
        grain=lambda inputs: 1.0 / inputs.n,
        optimised=False,
        source="C. Guo et al. (2017), On calibration of modern neural networks, ICML",
    )


def _counted(found: NDArray[np.bool_], weights: Weights) -> Floats:
    """Weight [M, B] of the examples that are found, of found [n, M] and weights [n, B].

    In the precision of the weights: the bootstrap's counts are whole numbers, of which a float32 holds any sum below
    2**24 exactly.
    """
    return np.asarray(found.T.astype(weights.dtype) @ weights, dtype=np.float64)


def _rows(codes: NDArray[np.intp], count: int) -> list[NDArray[np.intp]]:
    """Positions of each code that occurs."""
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.searchsorted(codes[order], np.arange(1, count)))
    return [part for part in parts if part.size]
