"""What seedzoo stores and sends: plain frozen records, free of I/O and of heavy imports.

Words as everywhere in seedzoo: a *task* is what is predicted, a *family* is all *variants* of one recipe, a *release*
is one immutable published state of a family, a *profile* is the measured table variant x *condition*, and a
*selection* is one run of choosing a variant for a *dataset*. Accuracies and intervals are fractions in [0, 1].
"""

from __future__ import annotations

from seedzoo.records.catalog import (
    Certificate,
    CertificateEntry,
    Family,
    FileEntry,
    Preprocessing,
    Release,
    Task,
    TrainingData,
    Variant,
)
from seedzoo.records.selection import (
    Baseline,
    ConditionAccuracy,
    Evaluation,
    Evidence,
    Interval,
    LabelDoubt,
    ProgressUpdate,
    RaceDecision,
    RaceSummary,
    RequirementResult,
    RequirementState,
    SelectionPhase,
    SelectionReport,
    SelectionState,
    VariantScore,
)

__all__ = [
    "Baseline",
    "Certificate",
    "CertificateEntry",
    "ConditionAccuracy",
    "Evaluation",
    "Evidence",
    "Family",
    "FileEntry",
    "Interval",
    "LabelDoubt",
    "Preprocessing",
    "ProgressUpdate",
    "RaceDecision",
    "RaceSummary",
    "Release",
    "RequirementResult",
    "RequirementState",
    "SelectionPhase",
    "SelectionReport",
    "SelectionState",
    "Task",
    "TrainingData",
    "Variant",
    "VariantScore",
]
