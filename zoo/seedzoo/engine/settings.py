"""What a user may ask for in a selection, checked before anything is evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seedzoo.errors import RequestError
from seedzoo.inference.decode import DEFAULT_MAX_PIXELS
from seedzoo.records import Evaluation
from seedzoo.selection import OBJECTIVES, Metric, Requirement, objective, parse_requirement

__all__ = ["PROFILE", "SelectionSettings", "metric_of", "needed_slices", "parsed_requirements"]

PROFILE = "profile"
"""Requirements on it speak of the family's stress profile, not of the user's examples."""

_MOST_REQUIREMENTS = 20
_PROPORTION_SUM = 1e-3
_LARGEST_COST = 1e12
_COST = "cost"
# Tasks have one class per image so far.
_NOT_HERE = frozenset({"multilabel_accuracy"})


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """What to maximise, under which requirements, and at which level the statements hold."""

    objective: str = "accuracy"
    """Name of a metric, with its parameter after a colon where it has one: ``top_k:3``."""
    alpha: float = 0.05
    delta: float = 0.01
    requirements: tuple[str, ...] = ()
    class_proportions: tuple[float, ...] = ()
    """Shares of the task's classes among the examples; empty where not known."""
    costs: tuple[float, ...] = ()
    """For the objective ``cost``: of calling class i class j, at i * classes + j."""
    evaluation: Evaluation = Evaluation.AUTO
    use_prior: bool = True
    """Whether unlabelled examples and the family's stress profile may help to choose inside the confidence set."""
    seed: int = 0
    max_pixels: int = DEFAULT_MAX_PIXELS

    def check(self, n_classes: int) -> None:
        """Refuse settings that cannot be used for a task of so many classes.

        Raises:
            RequestError: Says which setting, and what would do.
        """
        if not 0.001 <= self.alpha <= 0.5:
            raise RequestError(f"alpha = {self.alpha} is not between 0.001 and 0.5", field="alpha")
        metric = metric_of(self, n_classes)
        span = metric.high - metric.low
        if not 0 < self.delta < span or not math.isfinite(self.delta):
            most = f"{span:g}, the range of {metric.name}" if math.isfinite(span) else "infinity"
            raise RequestError(f"delta = {self.delta:g} is not between 0 and {most}", field="delta")
        requirements = parsed_requirements(self)
        _check_proportions(self.class_proportions, n_classes)
        if self.evaluation in (Evaluation.RACE, Evaluation.FAST):
            why = (
                f"the objective {metric.name} is no mean of bounded scores"
                if not metric.may_race
                else "requirements need every variant on every example"
                if requirements
                else ""
            )
            if why:
                raise RequestError(f"a race is not possible: {why}", hint="Leave it out.", field="evaluation")


def metric_of(settings: SelectionSettings, n_classes: int) -> Metric:
    """The metric that the settings name.

    Raises:
        RequestError: There is no such metric, its parameter cannot be used, or it cannot be chosen by.
    """
    name, colon, text = settings.objective.partition(":")
    if name not in OBJECTIVES or name in _NOT_HERE:
        known = ", ".join(sorted(each for each in OBJECTIVES if each not in _NOT_HERE and each != "ece"))
        raise RequestError(f"objective {name!r} is not known", hint=f"Known: {known}.", field="objective")
    if (name == _COST) != bool(settings.costs):
        message = (
            f"costs belong to the objective cost, not to {name}" if settings.costs else "the objective cost needs costs"
        )
        raise RequestError(message, hint="Give both or neither.", field="costs")
    given: dict[str, Any] = {}
    if name == _COST:
        given["costs"] = _cost_table(settings.costs, n_classes)
    if colon:
        given |= _parameter(name, text)
    try:
        metric = objective(name, **given)
    except ValueError as error:
        raise RequestError(f"objective {settings.objective!r}: {error}", field="objective") from error
    if not metric.optimised:
        raise RequestError(
            f"{name} is only reported: a variant that always says the base rates has the best one",
            hint="Choose by log_loss or brier instead.",
            field="objective",
        )
    return metric


def _eleven(text: str) -> bool:
    if text != "11":
        raise ValueError(text)
    return True


_PARAMETERS: Mapping[str, tuple[str, Callable[[str], Any], str]] = {
    "top_k": ("k", int, "a number of classes, as in top_k:3"),
    "risk_at_coverage": ("coverage", float, "a share, as in risk_at_coverage:.8"),
    "average_precision": ("eleven_point", _eleven, "11 or nothing, as in average_precision:11"),
}


def _parameter(name: str, text: str) -> dict[str, Any]:
    if name not in _PARAMETERS:
        raise RequestError(f"the objective {name} takes no parameter, got {text!r}", field="objective")
    parameter, read, form = _PARAMETERS[name]
    try:
        return {parameter: read(text)}
    except ValueError as error:
        raise RequestError(
            f"the parameter {text!r} of the objective {name} must be {form}", field="objective"
        ) from error


def _cost_table(costs: tuple[float, ...], n_classes: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    if len(costs) != n_classes**2:
        raise RequestError(
            f"{len(costs)} costs do not make a table of {n_classes} x {n_classes} classes",
            hint="Give one for each true class and each called class.",
            field="costs",
        )
    if not all(abs(cost) <= _LARGEST_COST for cost in costs):  # NaN fails the comparison
        raise RequestError(f"costs must be numbers of at most {_LARGEST_COST:g}", field="costs")
    return np.reshape(np.asarray(costs, dtype=np.float64), (n_classes, n_classes))


def parsed_requirements(settings: SelectionSettings) -> tuple[Requirement, ...]:
    """The requirements, read.

    Raises:
        RequestError: One of them cannot be read, or there are too many.
    """
    if len(settings.requirements) > _MOST_REQUIREMENTS:
        raise RequestError(
            f"{len(settings.requirements)} requirements are more than {_MOST_REQUIREMENTS}", field="requirements"
        )
    found = []
    for text in settings.requirements:
        try:
            requirement = parse_requirement(text)
        except ValueError as error:
            raise RequestError(
                str(error), hint="For example 'accuracy[blurry] >= .8' or 'profile[pixelate-3] >= 65%'.",
                field="requirements",
            ) from error  # fmt: skip
        if requirement.metric in _NOT_HERE:
            raise RequestError(f"requirement '{text}': the family's task has one class per image", field="requirements")
        found.append(requirement)
    return tuple(found)


def needed_slices(settings: SelectionSettings) -> tuple[str, ...]:
    """Slices of the user's examples that the requirements name."""
    named = (each.argument for each in parsed_requirements(settings) if each.metric != PROFILE)
    return tuple(dict.fromkeys(name for name in named if name is not None))


def _check_proportions(proportions: tuple[float, ...], n_classes: int) -> None:
    if not proportions:
        return
    if len(proportions) != n_classes:
        raise RequestError(f"{len(proportions)} class proportions for {n_classes} classes", field="class_proportions")
    if not all(math.isfinite(share) and share >= 0 for share in proportions):
        raise RequestError("class proportions must not be negative", field="class_proportions")
    if abs(sum(proportions) - 1.0) > _PROPORTION_SUM:
        raise RequestError(f"the class proportions sum to {sum(proportions):.4g}, not to 1", field="class_proportions")
