"""From the wire to records and views. What does not add up is refused here, once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from seedzoo.errors import IntegrityError, ItemsError, ZooError, error_class
from seedzoo.records import (
    Baseline,
    Certificate,
    CertificateEntry,
    ConditionAccuracy,
    Evaluation,
    Evidence,
    Interval,
    LabelDoubt,
    Preprocessing,
    RaceDecision,
    RaceSummary,
    RequirementResult,
    RequirementState,
    SelectionReport,
    Task,
    VariantScore,
)
from seedzoo_client.views import ConditionView, FamilyView, ProfileView, VariantView
from seedzoo_protos.v1 import catalog_pb2, selection_pb2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["family_view", "profile_view", "selection_error", "selection_report", "variant_view"]


def family_view(message: catalog_pb2.Family) -> FamilyView:
    """One family as the server describes it."""
    return FamilyView(
        name=message.name,
        title=message.title,
        release=message.release,
        released=_time(message.release_time) if message.HasField("release_time") else None,
        task=_task(message.task),
        variant_count=message.variant_count,
        held_out_mean=message.held_out_mean,
        held_out_sd=message.held_out_sd,
        certificate=_certificate(message.certificate) if message.HasField("certificate") else None,
        suite=message.suite,
        data_name=message.data_name,
        train_examples=message.train_examples,
        held_out_examples=message.held_out_examples,
        licence=message.licence,
        model_bytes=message.model_bytes,
        browse_only=message.browse_only,
        provenance=message.provenance,
        factors={factor.name: tuple(factor.levels) for factor in message.factors},
    )


def variant_view(message: catalog_pb2.Variant) -> VariantView:
    """One variant as the server describes it."""
    return VariantView(
        name=message.name,
        family=message.family,
        tag=message.tag,
        release=message.release,
        model_size=message.model_size,
        model_sha256=message.model_sha256,
        seeds=dict(sorted(message.seeds.items())),
        held_out_accuracy=message.held_out_accuracy,
        factors=dict(sorted(message.factors.items())),
        int8_size=message.int8_size,
        int8_sha256=message.int8_sha256,
        has_card=message.has_card,
    )


def profile_view(message: catalog_pb2.Profile) -> ProfileView:
    """The table variant x condition.

    Raises:
        IntegrityError: The table has not one number per variant and condition.
    """
    import numpy as np  # noqa: PLC0415 - only profiles need it, and it takes as long to load as gRPC

    def table(numbers: Sequence[float], rows: int) -> NDArray[np.float64]:
        columns = len(message.conditions)
        if len(numbers) != rows * columns:
            raise IntegrityError(
                f"the profile of {message.family} has {len(numbers)} numbers for {rows} x {columns} cells"
            )
        made = np.array(numbers, dtype=np.float64).reshape(rows, columns)
        made.flags.writeable = False
        return made

    others: dict[str, Sequence[float]] = {
        "log_loss": message.log_loss,
        "ece": message.ece,
        "brier": message.brier,
        "top5": message.top5,
        "worst_class": message.worst_class,
    }
    int8 = table(message.int8_accuracy, len(message.int8_tags))
    return ProfileView(
        family=message.family,
        release=message.release,
        suite=message.suite,
        tags=tuple(message.tags),
        conditions=tuple(_condition(entry) for entry in message.conditions),
        accuracy=table(message.accuracy, len(message.tags)),
        metrics={name: table(numbers, len(message.tags)) for name, numbers in others.items() if numbers},
        int8_accuracy=dict(zip(message.int8_tags, int8, strict=True)),
    )


def selection_report(message: selection_pb2.SelectionReport) -> SelectionReport:
    """The answer of a finished selection.

    Raises:
        IntegrityError: The report names no variant.
    """
    if not message.recommended:
        raise IntegrityError("the server's report recommends no variant", hint="Its log has the reason.")
    return SelectionReport(
        family=message.family,
        release=message.release,
        recommended=message.recommended,
        model_sha256=message.model_sha256,
        model_size=message.model_size,
        objective=message.objective,
        n_examples=message.n_examples,
        alpha=message.alpha,
        delta=message.delta,
        accuracy=_stated(message, "accuracy"),
        value=_stated(message, "value"),
        candidates=tuple(message.candidates),
        p_within=message.p_within if message.HasField("p_within") else None,
        detectable=message.detectable if message.HasField("detectable") else None,
        labels_to_separate=message.labels_to_separate if message.HasField("labels_to_separate") else None,
        reason=message.reason,
        baselines=tuple(
            Baseline(entry.name, entry.detail, entry.accuracy, entry.value, _interval(entry.gain))
            for entry in message.baselines
        ),
        scores=tuple(_score(entry) for entry in message.scores),
        profile=tuple(
            ConditionAccuracy(entry.condition, entry.accuracy, entry.family_mean, entry.family_sd)
            for entry in message.profile
        ),
        class_counts=dict(message.class_counts),
        warnings=tuple(message.warnings),
        evaluations=message.evaluations,
        seconds=message.seconds,
        selections_served=message.selections_served,
        label_doubts=tuple(
            LabelDoubt(doubt.index, doubt.label, doubt.called, doubt.share) for doubt in message.label_doubts
        ),
        n_groups=message.n_groups if message.HasField("n_groups") else None,
        higher_is_better=message.higher_is_better,
        evidence=_EVIDENCE[message.evidence],
        n_unlabelled=message.n_unlabelled,
        requirements=tuple(_requirement(entry) for entry in message.requirements),
        requirement_status=_REQUIREMENTS.get(message.requirement_status),
        class_proportions=dict(message.class_proportions),
        proportions_source=message.proportions_source,
        prior_used=message.prior_used,
        evaluation=_EVALUATIONS[message.evaluation],
        evaluations_exhaustive=message.evaluations_exhaustive,
        n_reserve=message.n_reserve,
        provider=message.provider,
        race=_race(message.race) if message.HasField("race") else None,
        decision=_decision(message.decision) if message.HasField("decision") else None,
    )


_EVIDENCE = {
    selection_pb2.EVIDENCE_UNSPECIFIED: Evidence.LABELS,
    selection_pb2.EVIDENCE_LABELS: Evidence.LABELS,
    selection_pb2.EVIDENCE_NO_LABELS: Evidence.NO_LABELS,
    selection_pb2.EVIDENCE_QUERIED_LABELS: Evidence.QUERIED_LABELS,
}
_EVALUATIONS = {
    selection_pb2.EVALUATION_UNSPECIFIED: Evaluation.EXHAUSTIVE,
    selection_pb2.EVALUATION_EXHAUSTIVE: Evaluation.EXHAUSTIVE,
    selection_pb2.EVALUATION_RACE: Evaluation.RACE,
    selection_pb2.EVALUATION_FAST: Evaluation.FAST,
}
_REQUIREMENTS = {
    selection_pb2.REQUIREMENT_STATUS_MET: RequirementState.MET,
    selection_pb2.REQUIREMENT_STATUS_OPEN: RequirementState.OPEN,
    selection_pb2.REQUIREMENT_STATUS_REFUTED: RequirementState.REFUTED,
}


def _score(entry: selection_pb2.VariantScore) -> VariantScore:
    return VariantScore(
        variant=entry.variant,
        accuracy=_stated(entry, "accuracy"),
        value=_stated(entry, "value"),
        candidate=entry.candidate,
        held_out_accuracy=entry.held_out_accuracy,
        requirements=_REQUIREMENTS.get(entry.requirements),
        expected_deviation=entry.expected_deviation if entry.HasField("expected_deviation") else None,
    )


def _requirement(entry: selection_pb2.RequirementResult) -> RequirementResult:
    return RequirementResult(
        text=entry.text,
        status=_REQUIREMENTS.get(entry.status, RequirementState.OPEN),
        value=_interval(entry.value),
        met=entry.met,
        open=entry.open,
        refuted=entry.refuted,
    )


def _stated(
    message: selection_pb2.SelectionReport | selection_pb2.VariantScore, name: Literal["accuracy", "value"]
) -> Interval | None:
    """An interval, or None where the evidence gives none."""
    return _interval(getattr(message, name)) if message.HasField(name) else None


def selection_error(message: selection_pb2.SelectionError, *, where: str = "") -> ZooError:
    """The error that ended a selection.

    Args:
        message: As the server stored it.
        where: Which of the user's files caused it, and how; ends the message where given.
    """
    text = message.message or "the selection failed without saying why"
    if where:
        text = f"{text}: {where}"
    if message.items:
        return ItemsError(text, faults={item.index: item.message for item in message.items}, hint=message.hint)
    return error_class(message.kind)(text, hint=message.hint, reason=message.reason or None)


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def _race(message: selection_pb2.RaceSummary) -> RaceSummary:
    return RaceSummary(
        seed=message.seed,
        first_block=tuple(message.first_block),
        n_raced=message.n_raced,
        predictions=message.predictions,
        predictions_saved=message.predictions_saved,
        guarantee=message.guarantee,
    )


def _decision(message: selection_pb2.RaceDecision) -> RaceDecision:
    measured = message.HasField("predicted_seconds")
    return RaceDecision(message.race, message.predicted_seconds if measured else None)


def _interval(message: selection_pb2.Interval) -> Interval:
    return Interval(message.estimate, message.low, message.high)


def _task(message: catalog_pb2.Task) -> Task:
    shape = message.preprocessing
    return Task(
        name=message.name,
        classes=tuple(message.classes),
        preprocessing=Preprocessing(
            height=shape.height,
            width=shape.width,
            channels=shape.channels,
            resize=shape.resize,
            interpolation=shape.interpolation,
        ),
        input_kind=message.input_kind,
        metric=message.metric,
    )


def _certificate(message: catalog_pb2.Certificate) -> Certificate:
    return Certificate(
        method=message.method,
        margin=message.margin,
        alpha=message.alpha,
        n_examples=message.n_examples,
        trained=message.trained,
        published=message.published,
        family_mean=message.family_mean,
        entries=tuple(
            CertificateEntry(entry.tag, entry.difference, entry.low, entry.high, entry.p_value, entry.passed)
            for entry in message.entries
        ),
        set_aside=tuple(message.set_aside),
    )


def _condition(message: catalog_pb2.ConditionSummary) -> ConditionView:
    return ConditionView(
        condition=message.condition,
        kind=message.kind,
        severity=message.severity,
        n_examples=message.n_examples,
        mean=message.mean,
        sd=message.sd,
        min=message.min,
        max=message.max,
        worst_variant=message.worst_variant,
        best_variant=message.best_variant,
        sd_ratio=message.sd_ratio,
        spearman=message.spearman,
        spearman_low=message.spearman_low,
        spearman_high=message.spearman_high,
        measured=message.measured,
    )
