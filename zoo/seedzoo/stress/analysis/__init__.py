"""What is made of a profile: corruption errors, effective robustness, excess variance, correlations."""

from __future__ import annotations

from seedzoo.stress.analysis.correlations import (
    Correlation,
    CorrelationMatrix,
    correlation_matrix,
    holm,
    spearman,
)
from seedzoo.stress.analysis.corruption_errors import (
    CorruptionErrors,
    Reference,
    alexnet,
    corruption_errors,
    reference_from,
)
from seedzoo.stress.analysis.excess import profile_excess
from seedzoo.stress.analysis.matrix import ProfileMatrix, profile_matrix
from seedzoo.stress.analysis.robustness import (
    LogitLine,
    effective_robustness,
    family_robustness,
    fit_line,
    published_lines,
)

__all__ = [
    "Correlation",
    "CorrelationMatrix",
    "CorruptionErrors",
    "LogitLine",
    "ProfileMatrix",
    "Reference",
    "alexnet",
    "correlation_matrix",
    "corruption_errors",
    "effective_robustness",
    "family_robustness",
    "fit_line",
    "holm",
    "profile_excess",
    "profile_matrix",
    "published_lines",
    "reference_from",
    "spearman",
]
