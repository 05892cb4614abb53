"""Stored records to wire messages. Nothing here decides anything."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from seedzoo import records
from seedzoo_protos.v1 import catalog_pb2, selection_pb2

__all__ = ["family_message", "phase_message", "report_message", "state_message", "timestamp", "variant_message"]


def timestamp(iso: str) -> Timestamp:
    """An ISO 8601 time as a Timestamp."""
    message = Timestamp()
    message.FromDatetime(datetime.fromisoformat(iso))
    return message


def family_message(family: records.Family, release: records.Release) -> catalog_pb2.Family:
    """A family as served."""
    return catalog_pb2.Family(
        name=family.name,
        title=family.title,
        release=release.id,
        release_time=timestamp(release.created),
        task=catalog_pb2.Task(
            name=family.task.name,
            classes=family.task.classes,
            preprocessing=catalog_pb2.Preprocessing(**asdict(family.task.preprocessing)),
            input_kind=family.task.input_kind,
            metric=family.task.metric,
        ),
        variant_count=len(family.variants),
        held_out_mean=family.held_out_mean,
        held_out_sd=family.held_out_sd,
        certificate=None if family.certificate is None else _certificate(family.certificate),
        suite=family.suite,
        data_name=family.data.name,
        train_examples=family.data.train_examples,
        held_out_examples=family.data.held_out_examples,
        licence=family.licence,
        model_bytes=family.model_bytes,
        browse_only=not family.selectable,
        provenance=family.provenance,
        factors=[catalog_pb2.Factor(name=name, levels=levels) for name, levels in family.factors.items()],
    )


def _certificate(certificate: records.Certificate) -> catalog_pb2.Certificate:
    return catalog_pb2.Certificate(
        method=certificate.method,
        margin=certificate.margin,
        alpha=certificate.alpha,
        n_examples=certificate.n_examples,
        trained=certificate.trained,
        published=certificate.published,
        family_mean=certificate.family_mean,
        entries=[catalog_pb2.CertificateEntry(**asdict(entry)) for entry in certificate.entries],
        set_aside=certificate.set_aside,
    )


def variant_message(
    variant: records.Variant,
    family: records.Family,
    release: records.Release,
    *,
    url: str = "",
    int8_url: str = "",
    has_card: bool = False,
) -> catalog_pb2.Variant:
    """A variant as served; size and SHA-256 of what it has not are 0 and empty."""
    absent = records.FileEntry(path="", size=0, sha256="")
    model, int8 = variant.model or absent, variant.int8 or absent
    return catalog_pb2.Variant(
        name=f"{family.name}/{variant.tag}",
        family=family.name,
        tag=variant.tag,
        release=release.id,
        model_size=model.size,
        model_sha256=model.sha256,
        seeds=variant.seeds,
        held_out_accuracy=variant.held_out_accuracy,
        download_url=url,
        factors=variant.factors,
        int8_size=int8.size,
        int8_sha256=int8.sha256,
        int8_download_url=int8_url,
        has_card=has_card,
    )


def state_message(state: records.SelectionState) -> selection_pb2.SelectionState.ValueType:
    """A state's wire value."""
    return selection_pb2.SelectionState.Value(f"SELECTION_STATE_{state.name}")


def phase_message(phase: records.SelectionPhase) -> selection_pb2.SelectionPhase.ValueType:
    """A phase's wire value."""
    return selection_pb2.SelectionPhase.Value(f"SELECTION_PHASE_{phase.name}")


def _interval(interval: records.Interval) -> selection_pb2.Interval:
    return selection_pb2.Interval(estimate=interval.estimate, low=interval.low, high=interval.high)


def report_message(report: records.SelectionReport) -> selection_pb2.SelectionReport:
    """A report as served; what the evidence does not give stays absent."""
    plain = {
        name: getattr(report, name)
        for name in (
            "family", "release", "recommended", "model_sha256", "model_size", "objective", "n_examples", "alpha",
            "delta", "candidates", "p_within", "detectable", "labels_to_separate", "reason", "class_counts", "warnings",
            "evaluations", "seconds", "selections_served", "n_groups", "higher_is_better", "n_unlabelled",
            "class_proportions", "proportions_source", "prior_used", "evaluations_exhaustive", "n_reserve",
            "provider",
        )
    }  # fmt: skip
    return selection_pb2.SelectionReport(
        **plain,
        accuracy=_stated(report.accuracy),
        value=_stated(report.value),
        evidence=selection_pb2.Evidence.Value(f"EVIDENCE_{report.evidence.name}"),
        evaluation=selection_pb2.Evaluation.Value(f"EVALUATION_{report.evaluation.name}"),
        race=None if report.race is None else selection_pb2.RaceSummary(**asdict(report.race)),
        decision=None if report.decision is None else selection_pb2.RaceDecision(**asdict(report.decision)),
        requirement_status=_requirement_state(report.requirement_status),
        requirements=[
            selection_pb2.RequirementResult(
                text=result.text,
                status=_requirement_state(result.status),
                value=_interval(result.value),
                met=result.met,
                open=result.open,
                refuted=result.refuted,
            )
            for result in report.requirements
        ],
        baselines=[
            selection_pb2.Baseline(
                name=baseline.name,
                detail=baseline.detail,
                accuracy=baseline.accuracy,
                value=baseline.value,
                gain=_interval(baseline.gain),
            )
            for baseline in report.baselines
        ],
        scores=[
            selection_pb2.VariantScore(
                variant=score.variant,
                accuracy=_stated(score.accuracy),
                value=_stated(score.value),
                candidate=score.candidate,
                held_out_accuracy=score.held_out_accuracy,
                requirements=_requirement_state(score.requirements),
                expected_deviation=score.expected_deviation,
            )
            for score in report.scores
        ],
        profile=[selection_pb2.ConditionAccuracy(**asdict(row)) for row in report.profile],
        label_doubts=[selection_pb2.LabelDoubt(**asdict(doubt)) for doubt in report.label_doubts],
    )


def _stated(interval: records.Interval | None) -> selection_pb2.Interval | None:
    return None if interval is None else _interval(interval)


def _requirement_state(state: records.RequirementState | None) -> selection_pb2.RequirementStatus.ValueType:
    return selection_pb2.RequirementStatus.Value(f"REQUIREMENT_STATUS_{'UNSPECIFIED' if state is None else state.name}")
