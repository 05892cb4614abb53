"""The choice among variants that were measured on the same labelled examples, with all that the report says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from seedzoo.engine.measured import Measure, Measured
from seedzoo.engine.settings import SelectionSettings, parsed_requirements
from seedzoo.errors import RequestError
from seedzoo.selection import (
    Choice,
    Interval,
    Metric,
    Prior,
    ProfileCounts,
    RequiredChoice,
    Signature,
    choose,
    choose_by_metric,
    choose_by_metric_with_requirements,
    choose_with_requirements,
)

__all__ = ["ENSEMBLE", "Help", "Outcome", "Surroundings", "choose_measured", "in_metric_unit", "outcome_of"]

ENSEMBLE = "ensemble"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Help:
    """What unlabelled examples and the stress profile say of the variants."""

    prior: Prior
    signatures: Sequence[Signature]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known beside the scores.

    Attributes:
        held_out: ``[M]`` held-out accuracies; they break exact ties, and the best one is a baseline.
        n_classes: Classes of the task.
        groups: ``[n]`` groups of dependent examples, or None.
        slices: By name which of the n examples belong to a slice.
        slice_numbers: ``[n]`` for the objective worst_slice, or None.
        profile: Counts of the stress profile, by condition.
    """

    held_out: Floats
    n_classes: int
    groups: NDArray[np.int64] | None
    slices: Mapping[str, NDArray[np.bool_]]
    slice_numbers: NDArray[np.int64] | None
    profile: Mapping[str, ProfileCounts]

    @property
    def reference(self) -> int:
        """The variant that is best by held-out accuracy."""
        return int(self.held_out.argmax())


@dataclass(frozen=True, slots=True)
class Outcome:
    """A choice and what surrounds it.

    Attributes:
        choice: In the unit of the metric.
        metric: What was chosen by.
        accuracies: Plain accuracies ``[M]`` with lows and highs that hold for all variants jointly.
        accuracy: Accuracy of the recommended variant.
        ensemble_accuracy: Share of examples that the ensemble of all variants gets right.
        ensemble_value: The metric of the ensemble.
        required: How the variants stand to the requirements; None without any.
    """

    choice: Choice
    metric: Metric
    accuracies: tuple[Floats, Floats, Floats]
    accuracy: Interval
    ensemble_accuracy: float
    ensemble_value: float
    required: RequiredChoice | None = None


class _Common(TypedDict):
    alpha: float
    groups: NDArray[np.int64] | None
    reference: int
    order: Floats
    preference: str
    seed: int


def choose_measured(
    measured: Measured, measure: Measure, settings: SelectionSettings, around: Surroundings, help_: Help | None
) -> Outcome:
    """Choose among variants that were all evaluated on the same labelled examples.

    Args:
        measured: n examples by M variants.
        measure: What was measured.
        settings: As the user asked.
        around: What else is known.
        help_: Lets unlabelled examples and the profile choose inside the confidence set, by accuracy only.

    Raises:
        RequestError: The objective or a requirement does not suit these examples.
    """
    common = _Common(
        alpha=settings.alpha,
        groups=around.groups,
        reference=around.reference,
        order=around.held_out,
        preference="the held-out accuracy",
        seed=settings.seed,
    )
    try:
        if measured.unit is None:
            return _by_metric(measured, measure.metric, settings, around, common)
        return _by_scores(measured, measured.unit, measure.metric, settings, around, common, help_)
    except ValueError as error:
        if settings.requirements:
            hint = "A requirement on a slice needs enough examples there: auroc, for example, some of every class."
            raise RequestError(str(error), hint=hint, field="requirements") from error
        raise RequestError(str(error), field="objective") from error


def _by_scores(
    measured: Measured,
    unit: Floats,
    metric: Metric,
    settings: SelectionSettings,
    around: Surroundings,
    common: _Common,
    help_: Help | None,
) -> Outcome:
    scores, baselines = unit[:, :-1], {ENSEMBLE: unit[:, -1]}
    delta = settings.delta / (metric.high - metric.low)
    merit = "the highest sample mean" if metric.higher_is_better else f"the lowest mean {metric.name}"
    required = None
    if settings.requirements:
        required = choose_with_requirements(
            scores,
            parsed_requirements(settings),
            slices=around.slices,
            profile=around.profile,
            inputs=measured.inputs(around.n_classes, ensemble=False, slices=around.slice_numbers),
            delta=delta,
            baselines=baselines,
            merit=merit,
            **common,
        )
        choice = required.choice
    else:
        choice = choose(
            scores,
            delta=delta,
            merit=merit,
            prior=None if help_ is None else help_.prior,
            signatures=None if help_ is None else help_.signatures,
            baselines=baselines,
            **common,
        )
    return outcome_of(
        in_metric_unit(choice, metric, settings.delta),
        measured,
        metric,
        groups=around.groups,
        seed=settings.seed,
        required=required,
    )


def _by_metric(
    measured: Measured, metric: Metric, settings: SelectionSettings, around: Surroundings, common: _Common
) -> Outcome:
    inputs = measured.inputs(around.n_classes, ensemble=True, slices=around.slice_numbers)
    required = None
    if settings.requirements:
        required = choose_by_metric_with_requirements(
            metric,
            inputs,
            parsed_requirements(settings),
            scores=measured.correct,
            slices=around.slices,
            profile=around.profile,
            delta=settings.delta,
            baselines=(ENSEMBLE,),
            **common,
        )
        choice = required.choice
    else:
        choice = choose_by_metric(metric, inputs, delta=settings.delta, baselines=(ENSEMBLE,), **common)
    return outcome_of(
        choice,
        measured,
        metric,
        groups=around.groups,
        seed=settings.seed,
        required=required,
        ensemble_value=float(metric(inputs)[-1]),
    )


def outcome_of(
    choice: Choice,
    measured: Measured,
    metric: Metric,
    *,
    groups: NDArray[np.int64] | None,
    seed: int,
    required: RequiredChoice | None = None,
    ensemble_value: float | None = None,
) -> Outcome:
    """A choice with the plain accuracies beside it, whatever the metric.

    Args:
        choice: In the unit of the metric.
        measured: The examples that its statements are made from.
        metric: What was chosen by.
        groups: ``[n]`` or None.
        seed: Seed of the draws.
        required: With requirements, the whole of it.
        ensemble_value: The metric of the ensemble; the mean of its scores when omitted.
    """
    if metric.name == "accuracy":
        accuracies, accuracy = (choice.means, *choice.variant_intervals), choice.accuracy
    else:
        plain = choose(measured.correct, alpha=choice.alpha, groups=groups, seed=seed)
        accuracies = (plain.means, *plain.variant_intervals)
        accuracy = Interval(*(float(values[choice.best]) for values in accuracies))
    if ensemble_value is None and measured.unit is not None:
        ensemble_value = float(_back(metric, measured.unit[:, -1:]).mean())
    if ensemble_value is None:
        raise ValueError("the metric of the ensemble is missing")
    return Outcome(
        choice=choice,
        metric=metric,
        accuracies=accuracies,
        accuracy=accuracy,
        ensemble_accuracy=float((measured.ensemble == measured.labels).mean()),
        ensemble_value=ensemble_value,
        required=required,
    )


def _back(metric: Metric, unit: Floats) -> Floats:
    """Scores in [0, 1], higher is better, in the unit of the metric that they stand for."""
    return np.asarray(metric.low + (metric.high - metric.low) * (unit if metric.higher_is_better else 1.0 - unit))


def in_metric_unit(choice: Choice, metric: Metric, delta: float) -> Choice:
    """A choice by scores in [0, 1] in the unit of the metric that they stand for; ``delta`` is in that unit."""
    if (metric.low, metric.high, metric.higher_is_better) == (0.0, 1.0, True):
        return choice
    span = metric.high - metric.low
    lows, highs = (_back(metric, limits) for limits in choice.variant_intervals)
    own = choice.accuracy
    estimate, low, high = _back(metric, np.array([own.estimate, own.low, own.high])).tolist()
    if not metric.higher_is_better:
        lows, highs, low, high = highs, lows, high, low
    return dataclasses.replace(
        choice,
        means=_back(metric, choice.means),
        accuracy=Interval(estimate, low, high),
        variant_intervals=(lows, highs),
        gains={
            name: Interval(gain.estimate * span, gain.low * span, gain.high * span)
            for name, gain in choice.gains.items()
        },
        detectable=choice.detectable * span,
        delta=delta,
    )
