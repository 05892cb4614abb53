"""From an outcome to the report that a user reads: names for indices, baselines, stored profile, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seedzoo.catalog.selectable import model_of
from seedzoo.engine.choosing import ENSEMBLE, Outcome
from seedzoo.engine.evaluation import Conversions
from seedzoo.engine.settings import SelectionSettings
from seedzoo.records import (
    Baseline,
    ConditionAccuracy,
    Evaluation,
    Evidence,
    Family,
    Interval,
    LabelDoubt,
    RaceDecision,
    RaceSummary,
    Release,
    RequirementResult,
    RequirementState,
    SelectionReport,
    VariantScore,
)
from seedzoo.selection import BEST_HELD_OUT, FAMILY_MEAN, RequirementStatus, Status
from seedzoo.selection import Interval as Estimate
from seedzoo.stress.table import ProfileTable

__all__ = [
    "Circumstances",
    "conversion_warnings",
    "interval",
    "label_doubts",
    "label_warnings",
    "labelled_report",
    "winner_profile",
]

_FEW_EXAMPLES = 100
_FEWEST_JUDGES = 5
_AGREEMENT = 0.9
_MOST_DOUBTS = 50


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a report says beside the choice: of what, on what, at what cost.

    Attributes:
        family: Whose variants.
        release: The release that the manifest belongs to.
        settings: As the user asked.
        profile: Stored stress profile of the family.
        conversions: What was done to the images.
        n_images: Images that were evaluated by at least one variant.
        evaluations: Forward passes.
        evaluations_exhaustive: Those of all variants on all examples that count.
        selections_served: Selections that this dataset has served, this one included.
        seconds: Time that it took.
        n_unlabelled: Unlabelled examples that were used.
        class_proportions: Class shares that label-free statistics rest on.
        proportions_source: ``given``, ``labels`` or ``assumed``; empty where none were needed.
        prior_used: Whether the stress profile helped to choose.
        evaluation: What was done in the end.
        n_reserve: Examples that a race never saw.
        race: How it went; None without one.
        decision: Whether to race, where that was left open.
        n_groups: Independent groups of dependent examples; None where all are independent.
        copies: Examples whose file is the same as another's.
        provider: What ran the models.
        warnings: What else to be careful about.
    """

    family: Family
    release: Release
    settings: SelectionSettings
    profile: ProfileTable
    conversions: Conversions
    n_images: int
    evaluations: int
    evaluations_exhaustive: int
    selections_served: int
    seconds: float
    n_unlabelled: int = 0
    class_proportions: Mapping[str, float] = field(default_factory=dict)
    proportions_source: str = ""
    prior_used: bool = False
    evaluation: Evaluation = Evaluation.EXHAUSTIVE
    n_reserve: int = 0
    race: RaceSummary | None = None
    decision: RaceDecision | None = None
    n_groups: int | None = None
    copies: int = 0
    provider: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Ids of the variants, in their order."""
        return [f"{self.family.name}/{variant.tag}" for variant in self.family.variants]

    def image_warnings(self) -> list[str]:
        """What was done to the images, and what else there is to say."""
        return [*conversion_warnings(self.family, self.conversions, self.n_images), *self.warnings]


def labelled_report(
    outcome: Outcome,
    around: Circumstances,
    *,
    labels: NDArray[np.int64],
    judged: NDArray[np.int64],
    predicted: NDArray[np.int32],
) -> SelectionReport:
    """The report of a choice that rests on a random sample of labels.

    Args:
        outcome: The choice.
        around: What surrounds it.
        labels: int64 ``[n]`` of all the user's examples, -1 where there is none.
        judged: int64 ``[k]`` the labelled examples that all variants saw, in whose labels doubts may lie.
        predicted: int32 ``[k, M]`` what the variants said of them.
    """
    family, choice = around.family, outcome.choice
    names = around.names
    winner = family.variants[choice.best]
    model = model_of(family.name, winner)
    means, lows, highs = outcome.accuracies
    value_lows, value_highs = choice.variant_intervals
    merit = choice.means if outcome.metric.higher_is_better else -choice.means
    first = [choice.best, *(index for index in choice.candidates if index != choice.best)]
    ranking = [*first, *(int(m) for m in np.argsort(-merit, kind="stable") if int(m) not in first)]
    required = outcome.required
    own = labels[labels >= 0]
    counts = np.bincount(own, minlength=len(family.task.classes))
    class_counts = {name: int(count) for name, count in zip(family.task.classes, counts, strict=True)}
    return SelectionReport(
        family=family.name,
        release=around.release.id,
        recommended=names[choice.best],
        model_sha256=model.sha256,
        model_size=model.size,
        objective=around.settings.objective,
        n_examples=len(own),
        alpha=choice.alpha,
        delta=choice.delta,
        accuracy=interval(outcome.accuracy),
        value=interval(choice.accuracy),
        candidates=tuple(names[index] for index in choice.candidates),
        # Under requirements it is not calibrated (bench/promises.py), so it is not said.
        p_within=choice.p_within if required is None else None,
        detectable=choice.detectable,
        labels_to_separate=choice.labels_to_separate,
        reason=choice.reason,
        baselines=_baselines(around, outcome),
        scores=tuple(
            VariantScore(
                variant=names[index],
                accuracy=Interval(float(means[index]), float(lows[index]), float(highs[index])),
                value=Interval(float(choice.means[index]), float(value_lows[index]), float(value_highs[index])),
                candidate=index in choice.candidates,
                held_out_accuracy=family.variants[index].held_out_accuracy,
                requirements=None if required is None else _STATES[required.overall[index]],
            )
            for index in ranking
        ),
        profile=winner_profile(winner.tag, family, around.profile),
        class_counts=class_counts,
        warnings=(*label_warnings(class_counts, len(own), around.copies), *around.image_warnings()),
        evaluations=around.evaluations,
        seconds=around.seconds,
        selections_served=around.selections_served,
        label_doubts=label_doubts(predicted, labels[judged], family.task.classes, judged),
        n_groups=around.n_groups,
        higher_is_better=outcome.metric.higher_is_better,
        evidence=Evidence.LABELS,
        n_unlabelled=around.n_unlabelled,
        requirements=()
        if required is None
        else tuple(
            _requirement(text, status, choice.best)
            for text, status in zip(around.settings.requirements, required.table, strict=True)
        ),
        requirement_status=None if required is None else _STATES[required.status],
        class_proportions=dict(around.class_proportions),
        proportions_source=around.proportions_source,
        prior_used=around.prior_used,
        evaluation=around.evaluation,
        evaluations_exhaustive=around.evaluations_exhaustive,
        n_reserve=around.n_reserve,
        race=around.race,
        decision=around.decision,
        provider=around.provider,
    )


_STATES = {
    Status.MET: RequirementState.MET,
    Status.OPEN: RequirementState.OPEN,
    Status.REFUTED: RequirementState.REFUTED,
}


def _requirement(text: str, status: RequirementStatus, best: int) -> RequirementResult:
    tally = [status.statuses.count(each) for each in (Status.MET, Status.OPEN, Status.REFUTED)]
    return RequirementResult(
        text=text,
        status=_STATES[status.statuses[best]],
        value=Interval(float(status.estimates[best]), float(status.lows[best]), float(status.highs[best])),
        met=tally[0],
        open=tally[1],
        refuted=tally[2],
    )


def label_doubts(
    predicted: NDArray[np.int32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    rows: NDArray[np.int64] | None = None,
) -> tuple[LabelDoubt, ...]:
    """Examples that at least nine of ten variants put into one and the same other class, the clearest first.

    Args:
        predicted: int ``[n, M]``.
        labels: int64 ``[n]``.
        classes: Class names.
        rows: int64 ``[n]`` the indices by which the examples are named; their positions when omitted.

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
            index=int(index if rows is None else rows[index]),
            label=classes[labels[index]],
            called=classes[called[index]],
            share=float(share[index]),
        )
        for index in clearest
    )


def interval(estimate: Estimate) -> Interval:
    """The record of an interval."""
    return Interval(estimate=estimate.estimate, low=estimate.low, high=estimate.high)


def _baselines(around: Circumstances, outcome: Outcome) -> tuple[Baseline, ...]:
    family, choice = around.family, outcome.choice
    held_out = np.array([variant.held_out_accuracy for variant in family.variants])
    reference = int(held_out.argmax())
    members = len(family.variants)
    accuracies = outcome.accuracies[0]
    described = (
        (FAMILY_MEAN, "a variant picked at random", float(accuracies.mean()), float(choice.means.mean())),
        (
            BEST_HELD_OUT,
            f"{around.names[reference]}, the best by held-out accuracy",
            float(accuracies[reference]),
            float(choice.means[reference]),
        ),
        (
            ENSEMBLE,
            f"all {members} variants together, {members} times the inference cost",
            outcome.ensemble_accuracy,
            outcome.ensemble_value,
        ),
    )
    return tuple(
        Baseline(name=name, detail=detail, accuracy=accuracy, value=value, gain=interval(choice.gains[name]))
        for name, detail, accuracy, value in described
    )


def winner_profile(tag: str, family: Family, profile: ProfileTable) -> tuple[ConditionAccuracy, ...]:
    """The stored stress profile of one variant beside its family, where it was measured."""
    tags = {variant.tag for variant in family.variants}
    by_condition: dict[str, list[tuple[str, float]]] = {}
    for row in profile.rows:
        if row.variant in tags:
            by_condition.setdefault(row.condition, []).append((row.variant, row.accuracy))
    rows = []
    for condition, measured in by_condition.items():
        if tag not in dict(measured):
            continue
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


def label_warnings(class_counts: Mapping[str, int], n: int, copies: int) -> list[str]:
    """What to be careful about in n labelled examples."""
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
    return found


def conversion_warnings(family: Family, conversions: Conversions, n: int) -> list[str]:
    """What was done to n images on the way in."""
    found = []
    shape = family.task.preprocessing
    for change, count in sorted(conversions.colour_changes.items()):
        found.append(f"{count} of {n} images were converted from {change}, which the family's models take")
    if conversions.resized_from:
        (width, height), _ = conversions.resized_from.most_common(1)[0]
        count = sum(conversions.resized_from.values())
        how = "stretched" if shape.resize == "stretch" else "scaled and cropped"
        found.append(
            f"{count} of {n} images were {how} to {shape.width} x {shape.height} (most were {width} x {height})"
        )
    return found
