"""From a choice to the report that a user reads: names for indices, baselines, stored profile, warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seedzoo.records import (
    Baseline,
    ConditionAccuracy,
    Family,
    Interval,
    LabelDoubt,
    Release,
    SelectionReport,
    VariantScore,
)
from seedzoo.selection import Choice
from seedzoo.selection import Interval as Estimate
from seedzoo.stress.table import ProfileTable

__all__ = ["Notes", "Scores", "make_report"]

_FEW_EXAMPLES = 100
_FEWEST_JUDGES = 5
_AGREEMENT = 0.9
_MOST_DOUBTS = 50


@dataclass
class Notes:
    """What was done to the images on the way in, counted."""

    colour_changes: Counter[str] = field(default_factory=Counter)
    resized_from: Counter[tuple[int, int]] = field(default_factory=Counter)


@dataclass(frozen=True)
class Scores:
    """What M variants did on n examples."""

    predicted: NDArray[np.int32]
    """Classes ``[n, M]``."""
    correct: NDArray[np.bool_]
    """``[n, M]``."""
    ensemble_accuracy: float
    n_groups: int | None = None
    """Independent groups, where examples depend on each other."""
    copies: int = 0
    """Examples whose file is the same as another's."""


def make_report(
    *,
    family: Family,
    release: Release,
    choice: Choice,
    scores: Scores,
    labels: NDArray[np.int64],
    objective: str,
    profile: ProfileTable,
    notes: Notes,
    seconds: float,
    selections_served: int,
) -> SelectionReport:
    """Put names to a choice and add what surrounds it. ``labels`` is int64 ``[n]``, all labelled."""
    names = [f"{family.name}/{variant.tag}" for variant in family.variants]
    winner = family.variants[choice.best]
    counts = np.bincount(labels, minlength=len(family.task.classes))
    class_counts = {name: int(count) for name, count in zip(family.task.classes, counts, strict=True)}
    lows, highs = choice.variant_intervals
    ranking = [*choice.candidates, *(int(m) for m in np.argsort(-choice.means, kind="stable")
                                     if int(m) not in choice.candidates)]  # fmt: skip
    return SelectionReport(
        family=family.name,
        release=release.id,
        recommended=names[choice.best],
        model_sha256=winner.model.sha256,
        model_size=winner.model.size,
        objective=objective,
        n_examples=choice.n,
        alpha=choice.alpha,
        delta=choice.delta,
        accuracy=_interval(choice.accuracy),
        candidates=tuple(names[index] for index in choice.candidates),
        p_within=choice.p_within,
        detectable=choice.detectable,
        labels_to_separate=choice.labels_to_separate,
        reason=choice.reason,
        baselines=_baselines(family, choice, scores),
        scores=tuple(
            VariantScore(
                variant=names[index],
                accuracy=Interval(float(choice.means[index]), float(lows[index]), float(highs[index])),
                candidate=index in choice.candidates,
                held_out_accuracy=family.variants[index].held_out_accuracy,
            )
            for index in ranking
        ),
        profile=_winner_profile(winner.tag, profile),
        class_counts=class_counts,
        warnings=tuple(_warnings(family, class_counts, notes, choice.n, scores.copies)),
        evaluations=int(scores.correct.size),
        seconds=seconds,
        selections_served=selections_served,
        label_doubts=label_doubts(scores.predicted, labels, family.task.classes),
        n_groups=scores.n_groups,
    )


def label_doubts(
    predicted: NDArray[np.int32], labels: NDArray[np.int64], classes: Sequence[str]
) -> tuple[LabelDoubt, ...]:
    """Examples that at least nine of ten variants put into one and the same other class, the clearest first.

    Args:
        predicted: int ``[n, M]``.
        labels: int64 ``[n]``.
        classes: Class names.

    Returns:
        At most 50; none for fewer than five variants, whose agreement says little.
    """
    members = predicted.shape[1]
    if members < _FEWEST_JUDGES:
        return ()
    votes = np.stack([(predicted == index).sum(axis=1) for index in range(len(classes))], axis=1)
    called = votes.argmax(axis=1)
    share = votes.max(axis=1) / members
    doubted = np.flatnonzero((called != labels) & (share >= _AGREEMENT))
    clearest = doubted[np.argsort(-share[doubted], kind="stable")][:_MOST_DOUBTS]
    return tuple(
        LabelDoubt(
            index=int(index), label=classes[labels[index]], called=classes[called[index]], share=float(share[index])
        )
        for index in clearest
    )


def _interval(estimate: Estimate) -> Interval:
    return Interval(estimate=estimate.estimate, low=estimate.low, high=estimate.high)


def _baselines(family: Family, choice: Choice, scores: Scores) -> tuple[Baseline, ...]:
    held_out = np.array([variant.held_out_accuracy for variant in family.variants])
    reference = int(held_out.argmax())
    members = len(family.variants)
    described = (
        ("family_mean", "a variant picked at random", float(choice.means.mean())),
        (
            "best_held_out",
            f"{family.name}/{family.variants[reference].tag}, the best by held-out accuracy",
            float(choice.means[reference]),
        ),
        ("ensemble", f"all {members} variants together, {members} times the inference cost", scores.ensemble_accuracy),
    )
    return tuple(
        Baseline(name=name, detail=detail, accuracy=accuracy, gain=_interval(choice.gains[name]))
        for name, detail, accuracy in described
    )


def _winner_profile(tag: str, profile: ProfileTable) -> tuple[ConditionAccuracy, ...]:
    by_condition: dict[str, list[tuple[str, float]]] = {}
    for row in profile.rows:
        by_condition.setdefault(row.condition, []).append((row.variant, row.accuracy))
    rows = []
    for condition, measured in by_condition.items():
        values = np.array([accuracy for _, accuracy in measured])
        rows.append(
            ConditionAccuracy(
                condition=condition,
                accuracy=dict(measured)[tag],
                family_mean=float(values.mean()),
                family_sd=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
            )
        )
    return tuple(rows)


def _warnings(family: Family, class_counts: dict[str, int], notes: Notes, n: int, copies: int) -> list[str]:
    found = []
    if copies:
        found.append(f"{copies} of {n} images are copies of others; the intervals count copies of one image as one")
    if n < _FEW_EXAMPLES:
        found.append(
            f"only {n} example{'s' * (n > 1)}: expect many ties; a few hundred usually separate strong differences"
        )
    absent = [name for name, count in class_counts.items() if count == 0]
    single = [name for name, count in class_counts.items() if count == 1]
    if absent:
        found.append(f"no examples of {', '.join(absent)}: the choice says nothing about them")
    if single:
        found.append(f"only one example of {', '.join(single)}")
    shape = family.task.preprocessing
    for change, count in sorted(notes.colour_changes.items()):
        found.append(f"{count} of {n} images were converted from {change}, which the family's models take")
    if notes.resized_from:
        (width, height), _ = notes.resized_from.most_common(1)[0]
        count = sum(notes.resized_from.values())
        how = "stretched" if shape.resize == "stretch" else "scaled and cropped"
        found.append(
            f"{count} of {n} images were {how} to {shape.width} x {shape.height} (most were {width} x {height})"
        )
    return found
