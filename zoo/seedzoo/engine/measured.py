"""What is measured of each labelled example, and how much of it has to be kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedzoo.engine.settings import SelectionSettings, metric_of, parsed_requirements
from seedzoo.errors import RequestError
from seedzoo.inference.evaluate import BlockScores
from seedzoo.selection import Inputs, Metric, accuracy_scores

__all__ = ["Measure", "Measured"]

_MOST_BYTES = 2 << 30
_NEED_PROBABILITIES = frozenset({"top_k", "log_loss", "brier", "ece", "auroc", "average_precision", "risk_at_coverage"})

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """What is kept of each example to choose as the settings say.

    Attributes:
        metric: What is chosen by.
        by_scores: Whether one bounded score per example and variant suffices; else the metric sees the whole set.
        looks: Whether those scores are computed from probabilities.
        keeps: Whether all probabilities are kept.
    """

    metric: Metric
    by_scores: bool
    looks: bool
    keeps: bool

    @classmethod
    def of(cls, settings: SelectionSettings, *, n_examples: int, n_variants: int, n_classes: int) -> Measure:
        """What these settings need.

        Raises:
            RequestError: The probabilities that they need would not fit into memory, or the settings are wrong.
        """
        metric = metric_of(settings, n_classes)
        required = {each.metric for each in parsed_requirements(settings)}
        # A requirement's "accuracy" is the mean of the scores that are chosen by, so those must be right or wrong.
        by_scores = metric.may_race and (metric.name == "accuracy" or not required)
        wants = settings.objective.partition(":")[0] in _NEED_PROBABILITIES
        keeps = bool(required & _NEED_PROBABILITIES) or (wants and not by_scores)
        size = 8 * n_examples * (n_variants + 1) * n_classes
        if keeps and size > _MOST_BYTES:
            raise RequestError(
                f"{settings.objective} on {n_examples} examples would need {size / 2**30:.1f} GiB of probabilities",
                hint="Use a random sample of the examples, or another objective.",
                field="objective",
            )
        return cls(metric=metric, by_scores=by_scores, looks=wants and by_scores, keeps=keeps)

    @property
    def needs_probabilities(self) -> bool:
        """Whether each evaluated block must come with its probabilities."""
        return self.looks or self.keeps


@dataclass(frozen=True, slots=True)
class Measured:
    """n labelled examples by M variants and their ensemble, which is the last column where there are M + 1.

    Attributes:
        rows: int64 ``[n]`` which of the user's examples.
        labels: int64 ``[n]``.
        predicted: int32 ``[n, M]``.
        ensemble: int32 ``[n]``.
        unit: float64 ``[n, M + 1]`` scores in [0, 1], higher is better; None where the objective has none.
        probabilities: float32 ``[n, M + 1, C]``; None where they are not needed.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int32]
    ensemble: NDArray[np.int32]
    unit: Floats | None
    probabilities: NDArray[np.float32] | None

    @classmethod
    def of(
        cls,
        blocks: Sequence[tuple[NDArray[np.int64], BlockScores]],
        labels: NDArray[np.int64],
        measure: Measure,
        n_classes: int,
    ) -> Measured:
        """From evaluated blocks whose probabilities were kept if the measure says so; ``labels`` of all examples."""
        return cls.joined([_part(rows, labels[rows], scores, measure, n_classes) for rows, scores in blocks])

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """All of them, one after the other."""
        units = [part.unit for part in parts if part.unit is not None]
        chances = [part.probabilities for part in parts if part.probabilities is not None]
        return cls(
            rows=np.concatenate([part.rows for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            predicted=np.concatenate([part.predicted for part in parts]),
            ensemble=np.concatenate([part.ensemble for part in parts]),
            unit=np.concatenate(units) if units else None,
            probabilities=np.concatenate(chances) if chances else None,
        )

    def by_row(self) -> Measured:
        """The same examples in ascending order."""
        order = np.argsort(self.rows, kind="stable")
        return Measured(
            rows=self.rows[order],
            labels=self.labels[order],
            predicted=self.predicted[order],
            ensemble=self.ensemble[order],
            unit=None if self.unit is None else self.unit[order],
            probabilities=None if self.probabilities is None else self.probabilities[order],
        )

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Bool ``[n, M]``."""
        return accuracy_scores(self.predicted, self.labels)

    def inputs(self, n_classes: int, *, ensemble: bool, slices: NDArray[np.int64] | None = None) -> Inputs:
        """For metrics of the whole set; ``slices`` are the numbers ``[n]`` for the objective worst_slice."""
        predicted = np.column_stack([self.predicted, self.ensemble]) if ensemble else self.predicted
        chance = self.probabilities
        if chance is not None and not ensemble:
            chance = chance[:, :-1]
        found = Inputs.of(self.labels, predicted=predicted, probabilities=chance, slices=slices)
        # Without probabilities the largest class that was seen would pass for the last one.
        return dataclasses.replace(found, classes=n_classes)


def _part(
    rows: NDArray[np.int64], labels: NDArray[np.int64], scores: BlockScores, measure: Measure, n_classes: int
) -> Measured:
    chance = None
    if measure.needs_probabilities:
        of_variants = scores.probabilities
        chance = np.concatenate([of_variants, of_variants.mean(axis=1, keepdims=True)], axis=1)
    part = Measured(
        rows=rows,
        labels=labels,
        predicted=scores.predicted,
        ensemble=scores.ensemble,
        unit=None,
        probabilities=chance,
    )
    unit = measure.metric.unit_scores(part.inputs(n_classes, ensemble=True)) if measure.by_scores else None
    return dataclasses.replace(part, unit=unit, probabilities=chance if measure.keeps else None)
