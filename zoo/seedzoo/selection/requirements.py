"""Requirements beside the objective: "accuracy[blurry] >= .8", "profile[pixelate-3] >= .65", "macro_f1 >= .7"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.arguments import check_draws
from seedzoo.selection.bootstrap import ErrorDraws, critical_value, draws_for, summarise
from seedzoo.selection.checks import as_group_codes, as_scores, check_int, check_open_unit
from seedzoo.selection.intervals import wilson_at
from seedzoo.selection.metric_draws import interval_bounds, metric_draws
from seedzoo.selection.objectives import Inputs, Metric, objective
from seedzoo.selection.statements import accuracy_critical, variant_intervals

__all__ = [
    "Evidence",
    "ProfileCounts",
    "Requirement",
    "RequirementStatus",
    "Status",
    "evaluate_requirements",
    "parse_requirement",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PROFILE = "profile"
# A draw of another metric evaluates it on all examples: auroc of 50 variants, 10 classes and 1000 examples takes 4 ms.
_MOST_METRIC_DRAWS = 4000
_FORM = re.compile(
    r"(?P<name>[a-z][a-z0-9_]*)\s*(?P<bracket>\[(?P<argument>[^\[\]]*)\])?\s*(?P<sign>>=|<=)(?P<number>.*)"
)
_NUMBER = re.compile(r"(?P<value>[0-9]+(\.[0-9]*)?|\.[0-9]+)(?P<percent>\s*%)?")


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One requirement.

    Attributes:
        metric: Name of an objective, or "profile" for accuracy on the family's stored stress profile.
        argument: Slice of the user's examples, or condition of the profile; None: all examples.
        at_least: True for ">=", False for "<=".
        threshold: In the unit of the metric.
    """

    metric: str
    argument: str | None
    at_least: bool
    threshold: float

    def __str__(self) -> str:
        where = "" if self.argument is None else f"[{self.argument}]"
        return f"{self.metric}{where} {'>=' if self.at_least else '<='} {self.threshold:.17g}"


def parse_requirement(text: str) -> Requirement:
    """Read a requirement.

    Grammar: ``metric [ "[" slice or condition "]" ] (">=" | "<=") number [ "%" ]``, spaces allowed around each part.
    Metrics are the objectives' names and "profile", which needs a condition in brackets. Numbers are plain
    decimals, not negative, within the metric's range; percent suits metrics whose highest value is 1.

    Raises:
        ValueError: Not of this form (says which part), no such metric, or a number that it cannot reach.
    """
    if not isinstance(text, str):
        raise ValueError(f"requirement {text!r} must be text, such as 'accuracy >= .8'")
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise ValueError(f"requirement {text!r} must read 'metric >= number' or 'metric[slice] >= number' (or <=)")
    name, argument = form["name"], form["argument"]
    if form["bracket"] is not None:
        argument = argument.strip()
        if not argument:
            raise ValueError(f"requirement {text!r}: the brackets name no slice or condition")
    if name == PROFILE:
        if argument is None:
            raise ValueError(f"requirement {text!r}: profile needs a condition, as in profile[pixelate-3]")
    elif name == "cost":
        raise ValueError(f"requirement {text!r}: costs come with a matrix and cannot be required")
    try:
        low, high = _range(name)
    except ValueError as error:
        raise ValueError(f"requirement {text!r}: {error}, and {PROFILE}") from None
    number = _NUMBER.fullmatch(form["number"].strip())
    if number is None:
        raise ValueError(f"requirement {text!r}: {form['number'].strip()!r} is no number such as .8 or 80%")
    value = float(number["value"]) / (100.0 if number["percent"] else 1.0)
    problem = _misfit(name, value, low=low, high=high, typed=number)
    if problem:
        raise ValueError(f"requirement {text!r}: {problem}")
    return Requirement(metric=name, argument=argument, at_least=form["sign"] == ">=", threshold=value)


def _misfit(name: str, value: float, *, low: float, high: float, typed: re.Match[str]) -> str:
    """What is wrong with a threshold; empty if nothing is."""
    if not math.isfinite(value):
        return "the number is too large"
    if typed["percent"] and high != 1.0:
        return f"{name} is no share, so its number takes no %"
    if high == 1.0 < value <= 100.0 and not typed["percent"]:
        return f"{name} is a share: did you mean {typed['value']}%?"
    return "" if low <= value <= high else f"{name} lies between {low:g} and {high:g}"


def _range(metric: str) -> tuple[float, float]:
    """Lowest and highest possible value of a requirement's metric.

    Raises:
        ValueError: No such metric, or one that needs parameters.
    """
    if metric == PROFILE:
        return 0.0, 1.0
    found = objective(metric)
    return found.low, found.high


class Status(Enum):
    """Whether the data show that a variant meets a requirement."""

    MET = "met"
    """The whole interval satisfies it."""
    OPEN = "open"
    """The interval holds values on both sides."""
    REFUTED = "refuted"
    """The whole interval violates it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RequirementStatus:
    """One requirement for all M variants.

    Attributes:
        requirement: The requirement.
        estimates: [M] sample values.
        lows: [M] lower bounds.
        highs: [M] upper bounds; all bounds of all requirements hold jointly.
        statuses: Status of each variant.
    """

    requirement: Requirement
    estimates: Floats
    lows: Floats
    highs: Floats
    statuses: tuple[Status, ...]

    @property
    def shortfall(self) -> Floats:
        """[M] how far the estimate is from satisfying it, in the unit of the metric; 0 where it does."""
        gap = self.requirement.threshold - self.estimates
        return np.maximum(gap if self.requirement.at_least else -gap, 0.0)

    @property
    def relative_shortfall(self) -> Floats:
        """[M] the shortfall as a share of the metric's range, so that different metrics compare.

        Where the range has no end it reaches to the highest upper bound of any variant, or to the threshold.
        """
        low, high = _range(self.requirement.metric)
        if not math.isfinite(high):
            high = max(float(self.highs.max()), self.requirement.threshold)
        return self.shortfall / (high - low) if high > low else self.shortfall


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileCounts:
    """What the stress profile says of one condition.

    Attributes:
        correct: [M] number of right predictions.
        n: Number of examples.
    """

    correct: ArrayLike
    n: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What requirements are judged by.

    Attributes:
        scores: [n, M] right or wrong, or other scores in [0, 1]; "accuracy" is their mean.
        slices: Name to [n] booleans: which examples belong to the slice.
        profile: Condition to the stored counts.
        inputs: n examples of M variants, for metrics other than accuracy; further columns (baselines) are not judged.
        groups: [n] hashables, dependent examples, or None.
    """

    scores: ArrayLike
    slices: Mapping[str, ArrayLike] | None = None
    profile: Mapping[str, ProfileCounts] | None = None
    inputs: Inputs | None = None
    groups: Sequence[Any] | NDArray[Any] | None = None


def evaluate_requirements(
    requirements: Sequence[Requirement], evidence: Evidence, *, alpha: float = 0.05, seed: int = 0, n_boot: int = 2000
) -> tuple[RequirementStatus, ...]:
    """Which variants meet which requirements, with bounds that hold jointly for all variants and requirements.

    Each of R requirements gets alpha / R. Within one the bounds are simultaneous over the M variants: max-T
    Wilson bounds for accuracy on the user's examples; Wilson bounds at alpha / (R M) for the profile, of which
    only counts are known; bootstrap max-T bounds for other metrics. All two-sided, so that with probability
    1 - alpha no variant is called met that is not, and none refuted that does meet.

    Time and memory are bounded at any alpha: for a small alpha / R up to 20,000 draws are taken (4,000 of other
    metrics, where a draw evaluates the metric on all examples), or n_boot if that is more. Beyond what they resolve,
    below 1 / (draws + 1), no critical value is smaller than the largest draw, nor than Bonferroni's normal or t value
    at alpha / (2 R M): still valid, and wider.

    Args:
        requirements: At least one, parsed.
        evidence: What they are judged by.
        alpha: Chance that any bound misses.
        seed: Seed of the draws.
        n_boot: Number of draws, 100 to 100,000; more are taken where alpha / R needs them.

    Raises:
        ValueError: No requirement or something else in its place, a slice or condition that is not there or empty,
            evidence of the wrong shape, inputs missing for a metric that needs them, or a seed or number of draws
            out of range.
    """
    if isinstance(requirements, str) or not isinstance(requirements, Sequence):
        raise ValueError(f"requirements must be a list of requirements, got {requirements!r}")
    if not requirements:
        raise ValueError("requirements must name at least one requirement")
    for one in requirements:
        if not isinstance(one, Requirement):
            raise ValueError(f"requirements must be of type Requirement (parse_requirement reads text), got {one!r}")
    level = check_open_unit(alpha, "alpha") / len(requirements)
    scores = as_scores(evidence.scores)
    codes = None if evidence.groups is None else as_group_codes(evidence.groups, n=len(scores))
    check_int(seed, "seed", low=0)
    check_draws(n_boot)
    variants = scores.shape[1]
    draws = draws_for(level, n_boot=n_boot, variants=variants)
    costly = draws_for(level, n_boot=n_boot, variants=variants, most=_MOST_METRIC_DRAWS)
    found = []
    for number, requirement in enumerate(requirements):
        rng = np.random.default_rng([seed, number])
        if requirement.metric == PROFILE:
            bounds = _profile_bounds(requirement, evidence.profile or {}, variants=variants, alpha=level)
        else:
            rows = _rows(requirement, evidence.slices or {}, n=len(scores))
            part = None if codes is None else as_group_codes(codes[rows], n=rows.size)
            if requirement.metric == "accuracy":
                bounds = _accuracy_bounds(scores[rows], part, alpha=level, n_boot=draws, rng=rng)
            else:
                inputs = evidence.inputs
                if inputs is None or inputs.n != len(scores) or inputs.variants < variants:
                    raise ValueError(
                        f"requirement '{requirement}' needs inputs of the same {len(scores)} examples and "
                        f"{variants} variants"
                    )
                metric, own = objective(requirement.metric), inputs.first(variants).take(rows)
                bounds = _metric_bounds(metric, own, part, alpha=level, n_boot=costly, rng=rng)
        found.append(_status(requirement, *bounds))
    return tuple(found)


def _rows(requirement: Requirement, slices: Mapping[str, ArrayLike], *, n: int) -> NDArray[np.intp]:
    if requirement.argument is None:
        return np.arange(n)
    if requirement.argument not in slices:
        known = f"there are {', '.join(slices)}" if slices else "there are no slices"
        raise ValueError(f"requirement '{requirement}': no slice is called {requirement.argument!r}; {known}")
    mask = np.asarray(slices[requirement.argument])
    if mask.shape != (n,) or mask.dtype != np.bool_:
        raise ValueError(f"slice {requirement.argument!r} must be {n} booleans, got {mask.dtype} of shape {mask.shape}")
    if not mask.any():
        raise ValueError(f"requirement '{requirement}': slice {requirement.argument!r} has no examples")
    return np.flatnonzero(mask)


def _profile_bounds(
    requirement: Requirement, profile: Mapping[str, ProfileCounts], *, variants: int, alpha: float
) -> tuple[Floats, Floats, Floats]:
    counts = profile.get(requirement.argument or "")
    if counts is None:
        known = f"it has {', '.join(profile)}" if profile else "there is no profile"
        raise ValueError(f"requirement '{requirement}': the profile has no condition {requirement.argument!r}; {known}")
    n = check_int(counts.n, "n of the profile", low=1)
    correct = np.asarray(counts.correct, dtype=np.float64)
    if correct.shape != (variants,) or not np.all((correct >= 0) & (correct <= n)):
        raise ValueError(f"correct of the profile must be {variants} counts between 0 and {n}")
    z = critical_value(alpha / (2 * variants), None)
    return correct / n, *wilson_at(correct / n, n, z=z)


def _accuracy_bounds(
    scores: Floats, codes: NDArray[np.intp] | None, *, alpha: float, n_boot: int, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    sample = summarise(scores, codes)
    variants = scores.shape[1]
    draws = ErrorDraws(sample, variants=variants, n_boot=n_boot, rng=rng)
    critical = accuracy_critical(sample, draws, variants=variants, alpha=alpha)
    return sample.means, *variant_intervals(sample, critical, variants=variants)


def _metric_bounds(
    metric: Metric,
    inputs: Inputs,
    codes: NDArray[np.intp] | None,
    *,
    alpha: float,
    n_boot: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats, Floats]:
    draws = metric_draws(metric, inputs, codes=codes, n_boot=n_boot, rng=rng)
    return draws.values, *interval_bounds(draws, inputs.variants, metric, alpha=alpha)


def _status(requirement: Requirement, estimates: Floats, lows: Floats, highs: Floats) -> RequirementStatus:
    threshold = requirement.threshold
    met: Bools = lows >= threshold if requirement.at_least else highs <= threshold
    refuted: Bools = highs < threshold if requirement.at_least else lows > threshold
    return RequirementStatus(
        requirement=requirement,
        estimates=estimates.copy(),
        lows=lows,
        highs=highs,
        statuses=tuple(
            Status.MET if yes else Status.REFUTED if no else Status.OPEN for yes, no in zip(met, refuted, strict=True)
        ),
    )
