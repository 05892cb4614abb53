"""Objectives: what "better" may mean. Per-example scores that may race, and metrics of a whole set of examples."""

from __future__ import annotations

from seedzoo.selection.objectives.inputs import Inputs
from seedzoo.selection.objectives.metric import Metric
from seedzoo.selection.objectives.per_example import (
    accuracy,
    accuracy_scores,
    brier,
    cost_matrix,
    log_loss,
    multilabel_accuracy,
    top_k,
)
from seedzoo.selection.objectives.ranking import auroc, average_precision, risk_at_coverage
from seedzoo.selection.objectives.registry import OBJECTIVES, objective
from seedzoo.selection.objectives.set_level import balanced_accuracy, ece, macro_f1, worst_slice

__all__ = [
    "OBJECTIVES",
    "Inputs",
    "Metric",
    "accuracy",
    "accuracy_scores",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "cost_matrix",
    "ece",
    "log_loss",
    "macro_f1",
    "multilabel_accuracy",
    "objective",
    "risk_at_coverage",
    "top_k",
    "worst_slice",
]
